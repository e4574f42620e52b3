// What is large or late steps back by one class, and nothing else changes.

import { settings, unsigned } from "./settings.js";

const CRITICAL = 0;
const BULK = 4;

let largeBytes = 64 * 1024;
let lateMs = 60000;

export const policy = {
  configure(given) {
    const most = { large_kib: 1048576, late_s: 86400 };
    const isRight = (name, value) => value >= 1 && value <= most[name];
    const { large_kib, late_s } = settings(given, { large_kib: 64, late_s: 60 }, isRight);
    largeBytes = large_kib * 1024;
    lateMs = late_s * 1000;
  },

  classify(nowMs, batch) {
    return Uint8Array.from(batch.class, (asked, row) => {
      const stepsBack = unsigned(batch.size[row]) > largeBytes || unsigned(batch.ageMs[row]) > lateMs;
      return asked !== CRITICAL && stepsBack ? Math.min(asked + 1, BULK) : asked;
    });
  },

  // As the host shares a link without a plugin.
  divide(nowMs, load) {
    return { guaranteed: Uint8Array.of(20, 30, 20, 15, 5), burst: Uint8Array.of(80, 60, 40, 30, 20) };
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
