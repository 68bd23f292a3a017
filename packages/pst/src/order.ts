import type { OrderKind } from './recipe.js';
import { createRandom, seedFrom } from './random.js';

/** Which question is being ordered. */
export interface OrderKey {
  /** Position of the question in the run, from 0. Drives `rotated`. */
  readonly index: number;
  readonly promptId: string;
  /** The run's seed. With `promptId` it drives `random`. */
  readonly seed: bigint;
}

/**
 * The order π in which peers answer a question [paper, 1.1]. `fixed`: as listed. `rotated`: question i starts
 * at peer i mod M. `random`: a permutation drawn from (seed, promptId), so that it survives a restart.
 */
export function orderPeers<T>(kind: OrderKind, peers: readonly T[], key: OrderKey): T[] {
  switch (kind) {
    case 'fixed':
      return [...peers];
    case 'rotated': {
      const start = peers.length === 0 ? 0 : key.index % peers.length;
      return [...peers.slice(start), ...peers.slice(0, start)];
    }
    case 'random':
      return createRandom(seedFrom(key.seed, 'order', key.promptId)).shuffle(peers);
  }
}
