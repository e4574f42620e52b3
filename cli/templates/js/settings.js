// What the engine and the host hand over, as one would expect it.

/**
 * Returns a u32 as the interface means it: in lists, the engine hands out those above 2147483647 as negative numbers.
 * Answers that may be so large have to be a Uint32Array, because an Array is cut to that number.
 */
export function unsigned(number) {
  return number >>> 0;
}

/**
 * Returns what the host gives `configure` as an object, with defaults for settings that are absent. Values have the
 * types of the manifest already. Throws what the host reports: an unknown name, or a value that `isRight` does not
 * accept.
 */
export function settings(all, defaults, isRight = () => true) {
  const out = { ...defaults };
  for (const { name, value } of all) {
    if (!(name in defaults)) throw { tag: "unknown-setting", val: name };
    // Some engines hand out what has 64 bits as a BigInt, which does not mix with numbers.
    const given = typeof value.val === "bigint" ? Number(value.val) : value.val;
    if (!isRight(name, given)) throw { tag: "bad-setting", val: name };
    out[name] = given;
  }
  return out;
}
