// Keeps what is young and small; of that, the urgent and the short-lived goes first.

import { settings, unsigned } from "./settings.js";

const CRITICAL = 0;
const REFUSE = 0;
// What a class is worth, most urgent first, and what is added when there is little time left.
const WORTHS = [250, 200, 150, 100, 50];
const SOON = 40;
const MOST = 255;

let maxAgeMs = 3600000;
let maxBytes = 64 * 1024;
let soonMs = 60000;

export const policy = {
  configure(given) {
    const bounds = { max_age_s: [1, 604800], max_kib: [1, 65536], soon_s: [0, 604800] };
    const isRight = (name, value) => value >= bounds[name][0] && value <= bounds[name][1];
    const defaults = { max_age_s: 3600, max_kib: 64, soon_s: 60 };
    const { max_age_s, max_kib, soon_s } = settings(given, defaults, isRight);
    maxAgeMs = max_age_s * 1000;
    maxBytes = max_kib * 1024;
    soonMs = soon_s * 1000;
  },

  carry(nowMs, room, batch) {
    return Uint8Array.from(batch.class, (asked, row) => {
      // What the host keeps anyway.
      const mustStay = batch.isOwn[row] || batch.isDurable[row] || asked === CRITICAL;
      const isTooMuch = unsigned(batch.ageMs[row]) > maxAgeMs || unsigned(batch.bytes[row]) > maxBytes;
      if (isTooMuch && !mustStay) return REFUSE;
      const isSoon = unsigned(batch.leftMs[row]) <= soonMs;
      return Math.min(WORTHS[asked] + (isSoon ? SOON : 0), MOST);
    });
  },

  stateVersion() {
    return 0;
  },

  save() {
    return new Uint8Array();
  },

  loadState(version, state) {
    if (state.length > 0) throw { tag: "unknown-version", val: version };
  },
};
