import { streamOf, uniformAt } from '../random.js';

/** Reproducible choices of one fuzz case. */
export interface Draw {
  /** An integer in [0, count). */
  below(count: number): number;
  /** One element of a non-empty list. */
  pick<T>(from: readonly T[]): T;
  /** True with this probability. */
  chance(probability: number): boolean;
}

/** The choices of case `index` of a target; any case can be repeated without those before it. */
export function createDraw(seed: number, target: string, index: number): Draw {
  const stream = (streamOf(target) ^ Math.imul(index + 1, 0x9e3779b1)) >>> 0;
  let step = 0;
  const next = (): number => uniformAt(seed, step++, stream);
  const below = (count: number): number => Math.floor(next() * count);
  return {
    below,
    pick: (from) => from[below(from.length)],
    chance: (probability) => next() < probability,
  };
}
