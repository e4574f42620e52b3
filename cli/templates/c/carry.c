/* Keeps what is young and small; of that, the urgent and the short-lived goes first. */

#include <stdlib.h>

#include "settings.h"

#define CRITICAL 0
#define REFUSE 0
#define MOST 255

/* What a class is worth, most urgent first, and what is added when there is little time left. */
static const uint8_t WORTHS[5] = {250, 200, 150, 100, 50};
#define SOON 40

static int64_t max_age_s = 3600;
static int64_t max_kib = 64;
static int64_t soon_s = 60;

bool exports_policy_configure(exports_policy_list_setting_t *settings, exports_policy_refusal_t *err) {
  bool ok = true;
  for (size_t at = 0; ok && at < settings->len; at++) {
    common_setting_t *setting = &settings->ptr[at];
    if (is_named(&setting->name, "max_age_s"))
      ok = integer(setting, 1, 604800, &max_age_s, err);
    else if (is_named(&setting->name, "max_kib"))
      ok = integer(setting, 1, 65536, &max_kib, err);
    else if (is_named(&setting->name, "soon_s"))
      ok = integer(setting, 0, 604800, &soon_s, err);
    else
      ok = unknown(setting, err);
  }
  exports_policy_list_setting_free(settings);
  return ok;
}

static uint8_t worth(const exports_policy_batch_t *of, size_t row) {
  uint8_t asked = of->class_.ptr[row];
  /* What the host keeps anyway. */
  bool must_stay = of->is_own.ptr[row] || of->is_durable.ptr[row] || asked == CRITICAL;
  bool is_too_old = of->age_ms.ptr[row] > (uint64_t)max_age_s * 1000;
  bool is_too_large = of->bytes.ptr[row] > (uint64_t)max_kib * 1024;
  if (!must_stay && (is_too_old || is_too_large)) return REFUSE;
  bool is_soon = of->left_ms.ptr[row] <= (uint64_t)soon_s * 1000;
  unsigned worth = WORTHS[asked % sizeof WORTHS] + (is_soon ? SOON : 0);
  return worth < MOST ? worth : MOST;
}

void exports_policy_carry(uint64_t now_ms, exports_policy_room_t *room, exports_policy_batch_t *batch,
                          plugin_list_u8_t *ret) {
  (void)now_ms, (void)room;
  ret->len = batch->class_.len;
  ret->ptr = malloc(ret->len);
  if (!ret->ptr) abort();
  for (size_t row = 0; row < ret->len; row++) ret->ptr[row] = worth(batch, row);
  exports_policy_batch_free(batch);
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
