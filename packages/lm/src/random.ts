/**
 * Counter-based random numbers: Philox-4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011).
 * A value depends on (seed, counter) alone, so a sequence's samples do not depend on its neighbours in a batch.
 */

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;

/** Upper 32 bits of the 64-bit product of two unsigned 32-bit integers. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = aLow * bHigh + (middle % 0x10000);
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) >>> 0;
}

/** The four 32-bit words of Philox-4x32-10 for a 128-bit counter and a 64-bit key. */
export function philox4x32(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(c0, MULTIPLIER_0);
    const low0 = Math.imul(c0, MULTIPLIER_0) >>> 0;
    const high1 = multiplyHigh(c2, MULTIPLIER_1);
    const low1 = Math.imul(c2, MULTIPLIER_1) >>> 0;
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** Splits a seed (any integer up to 2⁵³ in magnitude) into the two key words. */
function keyOf(seed: number): readonly [number, number] {
  return [seed >>> 0, Math.floor(seed / 0x1_0000_0000) >>> 0];
}

/**
 * A uniform number in [0, 1) with 53 random bits.
 * @param stream separates unrelated uses of one seed
 */
export function uniformAt(seed: number, step: number, stream = 0): number {
  const [a, b] = philox4x32(
    [step >>> 0, Math.floor(step / 0x1_0000_0000) >>> 0, stream >>> 0, 0],
    keyOf(seed),
  );
  return ((a >>> 5) * 0x400_0000 + (b >>> 6)) / 2 ** 53;
}

/** FNV-1a of a name, to give every parameter its own stream of one seed. */
export function streamOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** Fills `out` with uniforms in [low, high). */
export function fillUniform(
  out: Float32Array,
  low: number,
  high: number,
  seed: number,
  stream: number,
): void {
  const key = keyOf(seed);
  for (let i = 0; i < out.length; i += 4) {
    const words = philox4x32([i >>> 2, 0, stream >>> 0, 1], key);
    for (let j = 0; j < 4 && i + j < out.length; j++)
      out[i + j] = low + ((high - low) * (words[j] >>> 8)) / 2 ** 24;
  }
}

/** Fills `out` with normal deviates of mean 0 (Box–Muller). */
export function fillNormal(out: Float32Array, standardDeviation: number, seed: number, stream: number): void {
  const key = keyOf(seed);
  for (let i = 0; i < out.length; i += 4) {
    const words = philox4x32([i >>> 2, 0, stream >>> 0, 2], key);
    for (let j = 0; j < 4 && i + j < out.length; j += 2) {
      const radius = standardDeviation * Math.sqrt(-2 * Math.log((words[j] + 1) / 2 ** 32));
      const angle = (2 * Math.PI * words[j + 1]) / 2 ** 32;
      out[i + j] = radius * Math.cos(angle);
      if (i + j + 1 < out.length) out[i + j + 1] = radius * Math.sin(angle);
    }
  }
}
