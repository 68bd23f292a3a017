/** A deterministic stream of random numbers. Value i depends on the seed and on i alone. */
export interface Random {
  /** Uniform over the integers 0 … 2³²−1. */
  uint32(): number;
  /** Uniform over [0, 1), with 53 bits. */
  float(): number;
  /** Uniform over the integers low … high, both included. */
  integer(low: number, high: number): number;
  /** A uniformly chosen entry. Throws a RangeError on an empty list. */
  pick<T>(values: readonly T[]): T;
  /** `count` distinct entries in random order. */
  sample<T>(values: readonly T[], count: number): T[];
  /** A shuffled copy (Fisher and Yates). */
  shuffle<T>(values: readonly T[]): T[];
  /** Standard normal (Box and Muller). */
  normal(): number;
}

const MASK64 = (1n << 64n) - 1n;

/**
 * A 64-bit seed named by its parts: `seedFrom(runSeed, 'order', promptId)`. Parts are length-delimited, so
 * ('ab','c') and ('a','bc') differ. Not for secrets.
 */
export function seedFrom(...parts: readonly (string | number | bigint)[]): bigint {
  let high = 0x9e3779b9;
  let low = 0x243f6a88;
  const absorb = (unit: number): void => {
    high = Math.imul(high ^ unit, 0x85ebca6b);
    high ^= high >>> 13;
    low = Math.imul(low ^ unit, 0xc2b2ae35);
    low ^= low >>> 16;
  };
  for (const part of parts) {
    const text = String(part);
    absorb(text.length);
    for (let i = 0; i < text.length; i++) absorb(text.charCodeAt(i) + 1);
  }
  const [a, b] = threefry2x32(high >>> 0, low >>> 0, parts.length, 0);
  return ((BigInt(a) << 32n) | BigInt(b)) & MASK64;
}

/** A stream that starts at counter 0 of `seed` (its low 64 bits). */
export function createRandom(seed: bigint): Random {
  const key1 = Number((seed >> 32n) & 0xffffffffn);
  const key0 = Number(seed & 0xffffffffn);
  let counter = 0;
  let spare: number | null = null;

  const uint32 = (): number => {
    if (spare !== null) {
      const value = spare;
      spare = null;
      return value;
    }
    const [a, b] = threefry2x32(key0, key1, counter >>> 0, Math.floor(counter / 2 ** 32));
    counter++;
    spare = b;
    return a;
  };
  const float = (): number => ((uint32() >>> 5) * 2 ** 26 + (uint32() >>> 6)) / 2 ** 53;
  const integer = (low: number, high: number): number => low + Math.floor(float() * (high - low + 1));
  const shuffle = <T>(values: readonly T[]): T[] => {
    const copy = [...values];
    for (let i = copy.length - 1; i > 0; i--) {
      const j = integer(0, i);
      [copy[i], copy[j]] = [copy[j], copy[i]];
    }
    return copy;
  };
  const pick = <T>(values: readonly T[]): T => {
    if (values.length === 0) throw new RangeError('cannot pick from an empty list');
    return values[integer(0, values.length - 1)];
  };
  return {
    uint32,
    float,
    integer,
    pick,
    shuffle,
    sample: (values, count) => shuffle(values).slice(0, count),
    normal: () => Math.sqrt(-2 * Math.log(1 - float())) * Math.cos(2 * Math.PI * float()),
  };
}

const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24] as const;

/**
 * Threefry-2x32 with 20 rounds: counter-based, additions and rotations only, so that any language can
 * reproduce it (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
 */
export function threefry2x32(
  key0: number,
  key1: number,
  counter0: number,
  counter1: number,
): [number, number] {
  const keys = [key0 | 0, key1 | 0, 0x1bd11bda ^ key0 ^ key1];
  let x0 = (counter0 + keys[0]) | 0;
  let x1 = (counter1 + keys[1]) | 0;
  for (let round = 0; round < 20; round++) {
    const rotation = ROTATIONS[round % 8];
    x0 = (x0 + x1) | 0;
    x1 = ((x1 << rotation) | (x1 >>> (32 - rotation))) ^ x0;
    if (round % 4 === 3) {
      const block = (round + 1) / 4;
      x0 = (x0 + keys[block % 3]) | 0;
      x1 = (x1 + keys[(block + 1) % 3] + block) | 0;
    }
  }
  return [x0 >>> 0, x1 >>> 0];
}
