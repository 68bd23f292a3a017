/**
 * Values in [−scale, scale), element i from a hash of seed, name and i: the weights of the sweep's models, which
 * `reference/fixture_sweep.py` computes too, bit by bit.
 */
export function hashedValues(seed: number, name: string, count: number, scale: number): Float32Array {
  let key = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) key = Math.imul(key ^ byte, 0x01000193);
  const factor = Math.fround(scale);
  return Float32Array.from({ length: count }, (_, i) => {
    let x = Math.imul(i, 0x9e3779b1) ^ key ^ seed;
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
    x ^= x >>> 16;
    return ((x >>> 8) / 2 ** 23 - 1) * factor;
  });
}
