import { createTensor } from '@parley/graph';
import type { Tensor } from '@parley/graph';
import { roundUp } from './batch-plan.js';
import type { ModelConfig } from './config.js';

/** Keys and values of positions computed before, [rows, kvHeads, capacity, headDim] a layer, written from JavaScript. */
export interface KvCache {
  readonly rows: number;
  /** Positions a row can hold. */
  readonly capacity: number;
  /** The inputs `past.N.key` and `past.N.value` for `count` rows from `first`; they show later writes. */
  feeds(first: number, count: number): Readonly<Record<string, Tensor>>;
  /**
   * Stores `length` positions of one row, from `position` on.
   * @param fresh outputs `new.N.key` and `new.N.value` [·, kvHeads, tokens, headDim], whose row `freshRow` is taken
   */
  write(
    row: number,
    position: number,
    fresh: Readonly<Record<string, Tensor>>,
    freshRow: number,
    length: number,
  ): void;
  /** Copies the first `length` positions of a row of `source`, which may be this cache. */
  copyRow(row: number, source: KvCache, sourceRow: number, length: number): void;
  /** The memory of one side of one layer. */
  block(layer: number, side: Side): Float32Array;
}

/** What attention keeps of a position. */
export type Side = 'key' | 'value';
const sides: readonly Side[] = ['key', 'value'];

/**
 * Capacities are one less than multiples of this: with a token's own key before those of the cache, a row of scores is then a
 * whole number of vectors, and its sum does not depend on how much unused capacity follows.
 */
const cacheStep = 64;

/** The smallest capacity that holds `positions`. */
export function capacityFor(positions: number): number {
  return roundUp(positions + 1, cacheStep) - 1;
}

/** An empty cache. */
export function createKvCache(
  { layerCount, kvHeadCount, headDim }: Pick<ModelConfig, 'layerCount' | 'kvHeadCount' | 'headDim'>,
  rows: number,
  capacity: number,
): KvCache {
  const headSize = capacity * headDim;
  const rowSize = kvHeadCount * headSize;
  const blocks = Array.from({ length: layerCount }, () => ({
    key: new Float32Array(rows * rowSize),
    value: new Float32Array(rows * rowSize),
  }));
  let latest: { key: string; feeds: Record<string, Tensor> } | undefined;
  const eachBlock = (visit: (data: Float32Array, layer: number, side: Side) => void): void =>
    blocks.forEach((block, layer) => sides.forEach((side) => visit(block[side], layer, side)));
  return {
    rows,
    capacity,
    feeds(first, count) {
      const key = `${first}+${count}`;
      if (latest?.key !== key) {
        const feeds: Record<string, Tensor> = {};
        const shape = [count, kvHeadCount, capacity, headDim];
        eachBlock((data, layer, side) => {
          const view = data.subarray(first * rowSize, (first + count) * rowSize);
          feeds[`past.${layer}.${side}`] = createTensor('float32', shape, view);
        });
        latest = { key, feeds };
      }
      return latest.feeds;
    },
    write(row, position, fresh, freshRow, length) {
      eachBlock((data, layer, side) => {
        const source = fresh[`new.${layer}.${side}`];
        const from = source.data as Float32Array;
        const tokens = source.dims[2];
        for (let head = 0; head < kvHeadCount; head++) {
          const start = (freshRow * kvHeadCount + head) * tokens * headDim;
          const to = row * rowSize + head * headSize + position * headDim;
          if (length > 1) data.set(from.subarray(start, start + length * headDim), to);
          else for (let i = 0; i < headDim; i++) data[to + i] = from[start + i];
        }
      });
    },
    copyRow(row, source, sourceRow, length) {
      const sourceHead = source.capacity * headDim;
      eachBlock((data, layer, side) => {
        const from = source.block(layer, side);
        for (let head = 0; head < kvHeadCount; head++) {
          const start = (sourceRow * kvHeadCount + head) * sourceHead;
          data.set(from.subarray(start, start + length * headDim), row * rowSize + head * headSize);
        }
      });
    },
    block: (layer, side) => blocks[layer][side],
  };
}
