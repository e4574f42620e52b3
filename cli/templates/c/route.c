/* Routes by the fewest hops, and around neighbours whose queues are full. */

#include <stdlib.h>

#include "settings.h"

#define HOLD 4294967294u
#define ABSTAIN 4294967293u
#define TOPIC_BIT 0x80000000u
#define STATE_VERSION 1

/* A way of the last view. */
typedef struct {
  uint32_t dest, via;
  uint64_t cost_us;
  bool is_full;
  uint8_t hops;
} way;

static int64_t max_queue_kib = 256;
static way *ways;
static size_t ways_len;
static uint64_t decided;

bool exports_policy_configure(exports_policy_list_setting_t *settings, exports_policy_refusal_t *err) {
  bool ok = true;
  for (size_t at = 0; ok && at < settings->len; at++) {
    common_setting_t *setting = &settings->ptr[at];
    if (is_named(&setting->name, "max_queue_kib"))
      ok = integer(setting, 1, 1048576, &max_queue_kib, err);
    else
      ok = unknown(setting, err);
  }
  exports_policy_list_setting_free(settings);
  return ok;
}

static bool is_better(const way *one, const way *other) {
  if (one->is_full != other->is_full) return other->is_full;
  if (one->hops != other->hops) return one->hops < other->hops;
  return one->cost_us < other->cost_us;
}

void exports_policy_observe(uint64_t now_ms, exports_policy_links_t *links, exports_policy_ways_t *seen) {
  (void)now_ms;
  free(ways);
  ways_len = seen->dest.len;
  ways = malloc((ways_len + 1) * sizeof(way));
  if (!ways) abort();
  /* The host sorts them by destination; only the order between ways of one is ours. */
  for (size_t row = 0; row < ways_len; row++) {
    uint32_t via = seen->via.ptr[row];
    way this = {
        .dest = seen->dest.ptr[row],
        .via = via,
        .cost_us = (uint64_t)links->rtt_us.ptr[via] + seen->cost_us.ptr[row],
        .is_full = links->queued_bytes.ptr[via] > (uint64_t)max_queue_kib * 1024,
        .hops = seen->hops.ptr[row],
    };
    size_t at = row;
    for (; at > 0 && ways[at - 1].dest == this.dest && is_better(&this, &ways[at - 1]); at--) ways[at] = ways[at - 1];
    ways[at] = this;
  }
  exports_policy_links_free(links);
  exports_policy_ways_free(seen);
}

/* The first way to a destination, or one past the end. */
static size_t first_way(uint32_t dest) {
  size_t low = 0, high = ways_len;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (ways[middle].dest < dest)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static uint32_t route(uint32_t dest, uint32_t ingress) {
  if (dest & TOPIC_BIT) return ABSTAIN;
  for (size_t at = first_way(dest); at < ways_len && ways[at].dest == dest; at++)
    if (ways[at].via != ingress) return ways[at].via;
  return HOLD;
}

void exports_policy_decide(uint64_t now_ms, exports_policy_batch_t *batch, plugin_list_u32_t *ret) {
  (void)now_ms;
  ret->len = batch->dest.len;
  ret->ptr = malloc(ret->len * sizeof(uint32_t));
  if (!ret->ptr) abort();
  for (size_t row = 0; row < ret->len; row++) ret->ptr[row] = route(batch->dest.ptr[row], batch->ingress.ptr[row]);
  decided += ret->len;
  exports_policy_batch_free(batch);
}

uint32_t exports_policy_state_version(void) { return STATE_VERSION; }

/* Only what outlives a view: rows of neighbours change with every one. */
void exports_policy_save(plugin_list_u8_t *ret) {
  ret->len = sizeof decided;
  ret->ptr = malloc(ret->len);
  if (!ret->ptr) abort();
  memcpy(ret->ptr, &decided, ret->len);
}

bool exports_policy_load_state(uint32_t from_version, plugin_list_u8_t *state, exports_policy_refusal_t *err) {
  bool ok = from_version == STATE_VERSION && state->len == sizeof decided;
  if (ok) {
    memcpy(&decided, state->ptr, sizeof decided);
  } else if (from_version == STATE_VERSION) {
    err->tag = COMMON_REFUSAL_BAD_STATE;
  } else {
    err->tag = COMMON_REFUSAL_UNKNOWN_VERSION;
    err->val.unknown_version = from_version;
  }
  plugin_list_u8_free(state);
  return ok;
}
