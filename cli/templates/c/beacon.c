/* Hears a topic, counts what was said there, and says something when told to. */

#include <stdlib.h>

#include "settings.h"

/* How long what it says is worth delivering. */
#define TTL_MS 60000
#define STATE_VERSION 1

static plugin_string_t topic;
static uint64_t heard;

static plugin_string_t copied(const plugin_string_t *text) {
  plugin_string_t copy;
  plugin_string_dup_n(&copy, (const char *)text->ptr, text->len);
  return copy;
}

static exports_events_effect_t *effects(exports_events_list_effect_t *ret, size_t len) {
  ret->len = len;
  ret->ptr = malloc(len * sizeof(exports_events_effect_t));
  if (!ret->ptr) abort();
  return ret->ptr;
}

/* {"NAME":NUMBER} */
static plugin_list_u8_t json(const char *name, uint64_t number) {
  uint8_t digits[20];
  size_t count = 0;
  do digits[sizeof digits - ++count] = '0' + number % 10;
  while (number /= 10);
  size_t len = strlen(name);
  plugin_list_u8_t out = {.ptr = malloc(len + count + 5), .len = len + count + 5};
  if (!out.ptr) abort();
  uint8_t *to = out.ptr;
  *to++ = '{', *to++ = '"';
  memcpy(to, name, len), to += len;
  *to++ = '"', *to++ = ':';
  memcpy(to, digits + sizeof digits - count, count), to += count;
  *to = '}';
  return out;
}

bool exports_events_configure(exports_events_self_info_t *node, exports_events_list_setting_t *settings,
                              exports_events_list_effect_t *ret, exports_events_refusal_t *err) {
  bool ok = true;
  plugin_string_dup(&topic, "notes");
  for (size_t at = 0; ok && at < settings->len; at++) {
    common_setting_t *setting = &settings->ptr[at];
    ok = is_named(&setting->name, "topic") && setting->value.tag == COMMON_VALUE_TEXT;
    if (ok)
      topic = copied(&setting->value.val.text);
    else
      unknown(setting, err);
  }
  exports_events_self_info_free(node);
  exports_events_list_setting_free(settings);
  if (ok) *effects(ret, 1) = (exports_events_effect_t){EXPORTS_EVENTS_EFFECT_SUBSCRIBE, {.subscribe = copied(&topic)}};
  return ok;
}

static void on_message(const exports_events_message_t *message, exports_events_list_effect_t *ret) {
  plugin_string_t line;
  heard++;
  plugin_string_set(&line, message->payload.len ? "heard something" : "heard nothing");
  log_write(LOG_LEVEL_INFO, &line);
  exports_events_notice_t notice = {.payload = json("heard", heard)};
  plugin_string_dup(&notice.kind, "note");
  *effects(ret, 1) = (exports_events_effect_t){EXPORTS_EVENTS_EFFECT_NOTIFY, {.notify = notice}};
}

static bool say(const exports_events_command_t *command, exports_events_list_effect_t *ret,
                exports_events_failure_t *err) {
  if (command->payload.len == 0) {
    err->tag = EXPORTS_EVENTS_FAILURE_BAD_INPUT;
    plugin_string_dup(&err->val.bad_input, "there is nothing to say");
    return false;
  }
  exports_events_publication_t said = {
      .topic = copied(&topic), .class_ = EXPORTS_EVENTS_CLASS_NORMAL, .ttl_ms = TTL_MS};
  said.payload = (plugin_list_u8_t){malloc(command->payload.len), command->payload.len};
  if (!said.payload.ptr) abort();
  memcpy(said.payload.ptr, command->payload.ptr, command->payload.len);
  exports_events_effect_t *out = effects(ret, 2);
  out[0] = (exports_events_effect_t){EXPORTS_EVENTS_EFFECT_PUBLISH, {.publish = said}};
  out[1] = (exports_events_effect_t){EXPORTS_EVENTS_EFFECT_REPLY, {.reply = json("said", said.payload.len)}};
  return true;
}

static bool on_command(const exports_events_command_t *command, exports_events_list_effect_t *ret,
                       exports_events_failure_t *err) {
  if (is_named(&command->name, "say")) return say(command, ret, err);
  if (!is_named(&command->name, "count")) {
    err->tag = EXPORTS_EVENTS_FAILURE_UNKNOWN_COMMAND;
    err->val.unknown_command = copied(&command->name);
    return false;
  }
  *effects(ret, 1) = (exports_events_effect_t){EXPORTS_EVENTS_EFFECT_REPLY, {.reply = json("heard", heard)}};
  return true;
}

bool exports_events_handle(uint64_t now_ms, uint64_t seed, exports_events_event_t *event,
                           exports_events_list_effect_t *ret, exports_events_failure_t *err) {
  (void)now_ms, (void)seed;
  bool ok = true;
  if (event->tag == EXPORTS_EVENTS_EVENT_MESSAGE)
    on_message(&event->val.message, ret);
  else if (event->tag == EXPORTS_EVENTS_EVENT_COMMAND)
    ok = on_command(&event->val.command, ret, err);
  else
    effects(ret, 0);
  exports_events_event_free(event);
  return ok;
}

uint32_t exports_events_state_version(void) { return STATE_VERSION; }

void exports_events_save(plugin_list_u8_t *ret) {
  ret->len = sizeof heard;
  ret->ptr = malloc(ret->len);
  if (!ret->ptr) abort();
  memcpy(ret->ptr, &heard, ret->len);
}

bool exports_events_load_state(uint32_t from_version, plugin_list_u8_t *state, exports_events_refusal_t *err) {
  bool ok = from_version == STATE_VERSION && state->len == sizeof heard;
  if (ok) {
    memcpy(&heard, state->ptr, sizeof heard);
  } else if (from_version == STATE_VERSION) {
    err->tag = COMMON_REFUSAL_BAD_STATE;
  } else {
    err->tag = COMMON_REFUSAL_UNKNOWN_VERSION;
    err->val.unknown_version = from_version;
  }
  plugin_list_u8_free(state);
  return ok;
}
