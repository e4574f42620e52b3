/* What is large or late steps back by one class, and nothing else changes. */

#include <stdlib.h>

#include "settings.h"

#define CRITICAL 0
#define BULK 4

/* As the host shares a link without a plugin. */
static const uint8_t GUARANTEED[5] = {20, 30, 20, 15, 5};
static const uint8_t BURST[5] = {80, 60, 40, 30, 20};

static int64_t large_kib = 64;
static int64_t late_s = 60;

bool exports_policy_configure(exports_policy_list_setting_t *settings, exports_policy_refusal_t *err) {
  bool ok = true;
  for (size_t at = 0; ok && at < settings->len; at++) {
    common_setting_t *setting = &settings->ptr[at];
    if (is_named(&setting->name, "large_kib"))
      ok = integer(setting, 1, 1048576, &large_kib, err);
    else if (is_named(&setting->name, "late_s"))
      ok = integer(setting, 1, 86400, &late_s, err);
    else
      ok = unknown(setting, err);
  }
  exports_policy_list_setting_free(settings);
  return ok;
}

static plugin_list_u8_t list(size_t len) {
  plugin_list_u8_t list = {.ptr = malloc(len), .len = len};
  if (!list.ptr) abort();
  return list;
}

static uint8_t classify(uint8_t asked, uint32_t size, uint32_t age_ms) {
  bool steps_back = size > (uint64_t)large_kib * 1024 || age_ms > (uint64_t)late_s * 1000;
  return asked != CRITICAL && asked < BULK && steps_back ? asked + 1 : asked;
}

void exports_policy_classify(uint64_t now_ms, exports_policy_batch_t *batch, plugin_list_u8_t *ret) {
  (void)now_ms;
  *ret = list(batch->class_.len);
  for (size_t row = 0; row < ret->len; row++)
    ret->ptr[row] = classify(batch->class_.ptr[row], batch->size.ptr[row], batch->age_ms.ptr[row]);
  exports_policy_batch_free(batch);
}

void exports_policy_divide(uint64_t now_ms, exports_policy_load_t *load, exports_policy_shares_t *ret) {
  (void)now_ms;
  ret->guaranteed = list(sizeof GUARANTEED);
  ret->burst = list(sizeof BURST);
  memcpy(ret->guaranteed.ptr, GUARANTEED, sizeof GUARANTEED);
  memcpy(ret->burst.ptr, BURST, sizeof BURST);
  exports_policy_load_free(load);
}

uint32_t exports_policy_state_version(void) { return 0; }

void exports_policy_save(plugin_list_u8_t *ret) { *ret = list(0); }

bool exports_policy_load_state(uint32_t from_version, plugin_list_u8_t *state, exports_policy_refusal_t *err) {
  bool ok = state->len == 0;
  if (!ok) {
    err->tag = COMMON_REFUSAL_UNKNOWN_VERSION;
    err->val.unknown_version = from_version;
  }
  plugin_list_u8_free(state);
  return ok;
}
