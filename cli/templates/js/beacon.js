// Hears a topic, counts what was said there, and says something when told to.

import log from "mesh:handler/log@0.1.0";

import { settings } from "./settings.js";

// How long what it says is worth delivering.
const TTL_MS = 60000;
const STATE_VERSION = 1;

let topic = "notes";
let heard = 0;

export const events = {
  configure(node, given) {
    topic = settings(given, { topic: "notes" }).topic;
    return [{ tag: "subscribe", val: topic }];
  },

  handle(nowMs, seed, event) {
    switch (event.tag) {
      case "message":
        heard += 1;
        log.write("info", `heard ${event.val.payload.length} bytes`);
        return [{ tag: "notify", val: { kind: "note", payload: json({ heard }) } }];
      case "command":
        return command(event.val.name, event.val.payload);
      default:
        return [];
    }
  },

  stateVersion() {
    return STATE_VERSION;
  },

  save() {
    const state = new DataView(new ArrayBuffer(8));
    state.setBigUint64(0, BigInt(heard), true);
    return new Uint8Array(state.buffer);
  },

  loadState(version, state) {
    if (version !== STATE_VERSION) throw { tag: "unknown-version", val: version };
    if (state.length !== 8) throw { tag: "bad-state" };
    heard = Number(new DataView(Uint8Array.from(state).buffer).getBigUint64(0, true));
  },
};

function command(name, payload) {
  switch (name) {
    case "count":
      return [{ tag: "reply", val: json({ heard }) }];
    case "say":
      if (payload.length === 0) throw { tag: "bad-input", val: "there is nothing to say" };
      return [
        { tag: "publish", val: { topic, class: "normal", ttlMs: TTL_MS, payload } },
        { tag: "reply", val: json({ said: payload.length }) },
      ];
    default:
      throw { tag: "unknown-command", val: name };
  }
}

// The engine has no TextEncoder; these texts are plain ASCII.
function json(value) {
  return Uint8Array.from(JSON.stringify(value), (letter) => letter.charCodeAt(0));
}
