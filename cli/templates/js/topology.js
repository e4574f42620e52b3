// Prefers parents that are near and have room, and the present one a little.

import { settings, unsigned } from "./settings.js";

// How many points room and nearness can bring.
const ROOM = 600;
const NEARNESS = 400;
const UNKNOWN = 4294967295;

let stay = 50;

export const policy = {
  configure(given) {
    stay = settings(given, { stay: 50 }, (name, value) => value >= 0 && value <= 1000).stay;
  },

  score(nowMs, asker, candidates) {
    return Uint32Array.from(candidates.node, (node, row) => {
      const most = unsigned(candidates.maxChildren[row]);
      const free = Math.max(most - unsigned(candidates.children[row]), 0);
      const points = part(ROOM, free, most) + nearness(asker, unsigned(candidates.distanceM[row]));
      return Math.min(points + (candidates.isParent[row] ? stay : 0), 1000);
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

function nearness(asker, distanceM) {
  const most = unsigned(asker.maxDistanceM);
  if (most === UNKNOWN || distanceM === UNKNOWN) return 0;
  return part(NEARNESS, Math.max(most - distanceM, 0), most);
}

// That part of `whole` which `some` is of `all`.
function part(whole, some, all) {
  return all === 0 ? 0 : Math.floor((whole * some) / all);
}
