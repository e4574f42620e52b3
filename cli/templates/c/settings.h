/* What the host gives `configure`. Values have the types of the manifest already. */
#pragma once

#include <string.h>

#include "plugin.h"

static inline bool is_named(const plugin_string_t *text, const char *name) {
  return text->len == strlen(name) && memcmp(text->ptr, name, text->len) == 0;
}

/* A whole number between two bounds; false, with what the host reports in `err`, when it is none of them. */
static inline bool integer(const common_setting_t *setting, int64_t least, int64_t most, int64_t *out,
                           common_refusal_t *err) {
  bool is_right = setting->value.tag == COMMON_VALUE_INTEGER && setting->value.val.integer >= least &&
                  setting->value.val.integer <= most;
  if (is_right) {
    *out = setting->value.val.integer;
  } else {
    err->tag = COMMON_REFUSAL_BAD_SETTING;
    plugin_string_dup_n(&err->val.bad_setting, (const char *)setting->name.ptr, setting->name.len);
  }
  return is_right;
}

static inline bool unknown(const common_setting_t *setting, common_refusal_t *err) {
  err->tag = COMMON_REFUSAL_UNKNOWN_SETTING;
  plugin_string_dup_n(&err->val.unknown_setting, (const char *)setting->name.ptr, setting->name.len);
  return false;
}
