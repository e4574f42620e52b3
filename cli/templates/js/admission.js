// Has links to the nodes whose name or label is listed, and to everybody while nobody is.

import { settings } from "./settings.js";

let names = [];
let labels = [];

export const policy = {
  configure(given) {
    const isRight = (name, value) => name !== "labels" || items(value).every((item) => item.includes("="));
    const lists = settings(given, { names: "", labels: "" }, isRight);
    names = items(lists.names);
    labels = items(lists.labels).map(pair);
  },

  admit(nowMs, place, visitors) {
    const isOpen = names.length === 0 && labels.length === 0;
    // Whoever has not said who he is is asked about again when he has.
    return visitors.map((visitor) => isOpen || visitor.health === "unknown" || isListed(visitor));
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

function isListed(visitor) {
  const isLabel = (label) => labels.some(([key, value]) => key === label.key && value === label.value);
  return names.includes(visitor.name) || visitor.labels.some(isLabel);
}

function items(list) {
  return list
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
}

function pair(item) {
  const at = item.indexOf("=");
  return [item.slice(0, at), item.slice(at + 1)];
}
