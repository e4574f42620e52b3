/* Has links to the nodes whose name or label is listed, and to everybody while nobody is. */

#include <stdlib.h>

#include "settings.h"

/* Lists with commas between. */
static plugin_string_t names;
static plugin_string_t labels;

static plugin_string_t part(const plugin_string_t *text, size_t from, size_t to) {
  while (from < to && text->ptr[from] == ' ') from++;
  while (from < to && text->ptr[to - 1] == ' ') to--;
  return (plugin_string_t){.ptr = text->ptr + from, .len = to - from};
}

/* Takes the next item that is not empty, from `at` on; false when there is none. */
static bool next(const plugin_string_t *list, size_t *at, plugin_string_t *item) {
  while (*at < list->len) {
    size_t from = *at, to = from;
    while (to < list->len && list->ptr[to] != ',') to++;
    *at = to + 1;
    *item = part(list, from, to);
    if (item->len) return true;
  }
  return false;
}

static bool is_equal(const plugin_string_t *one, const plugin_string_t *other) {
  return one->len == other->len && memcmp(one->ptr, other->ptr, one->len) == 0;
}

/* Splits KEY=VALUE at the first sign; false when there is none. */
static bool split(const plugin_string_t *item, exports_policy_label_t *label) {
  size_t at = 0;
  while (at < item->len && item->ptr[at] != '=') at++;
  if (at == item->len) return false;
  label->key = (plugin_string_t){.ptr = item->ptr, .len = at};
  label->value = (plugin_string_t){.ptr = item->ptr + at + 1, .len = item->len - at - 1};
  return true;
}

static bool are_labels(const plugin_string_t *list) {
  plugin_string_t item;
  exports_policy_label_t label;
  for (size_t at = 0; next(list, &at, &item);)
    if (!split(&item, &label)) return false;
  return true;
}

static bool set(const common_setting_t *setting, plugin_string_t *list, exports_policy_refusal_t *err) {
  const plugin_string_t *text = &setting->value.val.text;
  if (setting->value.tag != COMMON_VALUE_TEXT || (list == &labels && !are_labels(text))) {
    err->tag = COMMON_REFUSAL_BAD_SETTING;
    plugin_string_dup_n(&err->val.bad_setting, (const char *)setting->name.ptr, setting->name.len);
    return false;
  }
  plugin_string_dup_n(list, (const char *)text->ptr, text->len);
  return true;
}

bool exports_policy_configure(exports_policy_list_setting_t *settings, exports_policy_refusal_t *err) {
  bool ok = true;
  for (size_t at = 0; ok && at < settings->len; at++) {
    common_setting_t *setting = &settings->ptr[at];
    if (is_named(&setting->name, "names"))
      ok = set(setting, &names, err);
    else if (is_named(&setting->name, "labels"))
      ok = set(setting, &labels, err);
    else
      ok = unknown(setting, err);
  }
  exports_policy_list_setting_free(settings);
  return ok;
}

static bool has_label(const exports_policy_visitor_t *visitor, const exports_policy_label_t *label) {
  for (size_t row = 0; row < visitor->labels.len; row++) {
    const exports_policy_label_t *own = &visitor->labels.ptr[row];
    if (is_equal(&own->key, &label->key) && is_equal(&own->value, &label->value)) return true;
  }
  return false;
}

static bool is_welcome(const exports_policy_visitor_t *visitor) {
  plugin_string_t item;
  exports_policy_label_t label;
  bool is_open = true;
  for (size_t at = 0; next(&names, &at, &item); is_open = false)
    if (is_equal(&item, &visitor->name)) return true;
  for (size_t at = 0; next(&labels, &at, &item); is_open = false)
    if (split(&item, &label) && has_label(visitor, &label)) return true;
  /* Whoever has not said who he is is asked about again when he has. */
  return is_open || visitor->health == EXPORTS_POLICY_HEALTH_UNKNOWN;
}

void exports_policy_admit(uint64_t now_ms, exports_policy_place_t *place, exports_policy_list_visitor_t *visitors,
                          plugin_list_bool_t *ret) {
  (void)now_ms, (void)place;
  ret->len = visitors->len;
  ret->ptr = malloc(ret->len * sizeof(bool));
  if (!ret->ptr) abort();
  for (size_t row = 0; row < ret->len; row++) ret->ptr[row] = is_welcome(&visitors->ptr[row]);
  exports_policy_list_visitor_free(visitors);
}

uint32_t exports_policy_state_version(void) { return 0; }

void exports_policy_save(plugin_list_u8_t *ret) {
  ret->ptr = NULL;
  ret->len = 0;
}

bool exports_policy_load_state(uint32_t from_version, plugin_list_u8_t *state, exports_policy_refusal_t *err) {
  bool ok = state->len == 0;
  if (!ok) {
    err->tag = COMMON_REFUSAL_UNKNOWN_VERSION;
    err->val.unknown_version = from_version;
  }
  plugin_list_u8_free(state);
  return ok;
}
