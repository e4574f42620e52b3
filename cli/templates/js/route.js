// Routes by the fewest hops, and around neighbours whose queues are full.

import { settings, unsigned } from "./settings.js";

const HOLD = 4294967294;
const ABSTAIN = 4294967293;
const TOPIC_BIT = 0x80000000;
const STATE_VERSION = 1;

let maxQueueBytes = 256 * 1024;
// The ways of the last view by destination, the best first.
let known = new Map();
let decided = 0;

export const policy = {
  configure(given) {
    const isRight = (name, value) => value >= 1 && value <= 1048576;
    maxQueueBytes = settings(given, { max_queue_kib: 256 }, isRight).max_queue_kib * 1024;
  },

  observe(nowMs, links, ways) {
    known = new Map();
    ways.dest.forEach((dest, row) => {
      const via = ways.via[row];
      const way = {
        via,
        full: unsigned(links.queuedBytes[via]) > maxQueueBytes,
        hops: ways.hops[row],
        cost: unsigned(links.rttUs[via]) + unsigned(ways.costUs[row]),
      };
      if (!known.has(dest)) known.set(dest, []);
      known.get(dest).push(way);
    });
    for (const ways of known.values()) {
      ways.sort((a, b) => a.full - b.full || a.hops - b.hops || a.cost - b.cost);
    }
  },

  decide(nowMs, batch) {
    decided += batch.dest.length;
    return Uint32Array.from(batch.dest, (dest, row) => {
      if (dest & TOPIC_BIT) return ABSTAIN;
      const onward = known.get(dest)?.find((way) => way.via !== batch.ingress[row]);
      return onward ? onward.via : HOLD;
    });
  },

  stateVersion() {
    return STATE_VERSION;
  },

  // Only what outlives a view: rows of neighbours change with every one.
  save() {
    const state = new DataView(new ArrayBuffer(8));
    state.setBigUint64(0, BigInt(decided), true);
    return new Uint8Array(state.buffer);
  },

  loadState(version, state) {
    if (version !== STATE_VERSION) throw { tag: "unknown-version", val: version };
    if (state.length !== 8) throw { tag: "bad-state" };
    decided = Number(new DataView(Uint8Array.from(state).buffer).getBigUint64(0, true));
  },
};
