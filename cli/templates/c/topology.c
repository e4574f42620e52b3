/* Prefers parents that are near and have room, and the present one a little. */

#include <stdlib.h>

#include "settings.h"

/* How many points room and nearness can bring. */
#define ROOM 600
#define NEARNESS 400
#define MOST 1000
#define UNKNOWN 4294967295u

static int64_t stay = 50;

bool exports_policy_configure(exports_policy_list_setting_t *settings, exports_policy_refusal_t *err) {
  bool ok = true;
  for (size_t at = 0; ok && at < settings->len; at++) {
    common_setting_t *setting = &settings->ptr[at];
    if (is_named(&setting->name, "stay"))
      ok = integer(setting, 0, 1000, &stay, err);
    else
      ok = unknown(setting, err);
  }
  exports_policy_list_setting_free(settings);
  return ok;
}

/* That part of `whole` which `some` is of `all`. */
static uint64_t part(uint64_t whole, uint32_t some, uint32_t all) { return all ? whole * some / all : 0; }

static uint32_t less(uint32_t one, uint32_t other) { return one > other ? one - other : 0; }

static uint32_t points(const exports_policy_asker_t *asker, const exports_policy_candidates_t *of, size_t row) {
  uint32_t room = less(of->max_children.ptr[row], of->children.ptr[row]);
  uint32_t most = asker->max_distance_m, distance = of->distance_m.ptr[row];
  uint64_t points = part(ROOM, room, of->max_children.ptr[row]);
  if (most != UNKNOWN && distance != UNKNOWN) points += part(NEARNESS, less(most, distance), most);
  if (of->is_parent.ptr[row]) points += (uint64_t)stay;
  return points < MOST ? (uint32_t)points : MOST;
}

void exports_policy_score(uint64_t now_ms, exports_policy_asker_t *asker, exports_policy_candidates_t *candidates,
                          plugin_list_u32_t *ret) {
  (void)now_ms;
  ret->len = candidates->node.len;
  ret->ptr = malloc(ret->len * sizeof(uint32_t));
  if (!ret->ptr) abort();
  for (size_t row = 0; row < ret->len; row++) ret->ptr[row] = points(asker, candidates, row);
  exports_policy_candidates_free(candidates);
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
