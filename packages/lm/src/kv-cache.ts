import { createTensor } from '@parley/graph';
import type { Tensor } from '@parley/graph';
import type { ModelConfig } from './config.js';

/** Keys and values of the positions decoded so far, [rows, kvHeads, capacity, headDim] a layer, written from JavaScript. */
export interface KvCache {
  readonly rows: number;
  readonly capacity: number;
  /** The inputs `past.N.key` and `past.N.value` of the decoding graph; they show later writes. */
  readonly feeds: Readonly<Record<string, Tensor>>;
  /**
   * Stores `length` positions from 0 of one row.
   * @param fresh outputs `new.N.key` and `new.N.value` [·, kvHeads, tokens, headDim]
   */
  writePrompt(row: number, fresh: Readonly<Record<string, Tensor>>, freshRow: number, length: number): void;
  /** Stores one position of one row, from outputs [rows, kvHeads, 1, headDim]. */
  append(row: number, position: number, fresh: Readonly<Record<string, Tensor>>): void;
  /** A smaller cache with some of the rows, in the order given. */
  select(rows: readonly number[]): KvCache;
}

type Side = 'key' | 'value';
const sides: readonly Side[] = ['key', 'value'];

/** An empty cache. */
export function createKvCache(config: ModelConfig, rows: number, capacity: number): KvCache {
  const { layerCount, kvHeadCount, headDim } = config;
  const rowSize = kvHeadCount * capacity * headDim;
  const blocks = Array.from({ length: layerCount }, (_, layer) =>
    sides.map((side) => ({ layer, side, data: new Float32Array(rows * rowSize) })),
  ).flat();
  const shape = [rows, kvHeadCount, capacity, headDim];
  return {
    rows,
    capacity,
    feeds: Object.fromEntries(
      blocks.map(({ layer, side, data }) => [`past.${layer}.${side}`, createTensor('float32', shape, data)]),
    ),
    writePrompt(row, fresh, freshRow, length) {
      for (const { layer, side, data } of blocks) {
        const source = fresh[`new.${layer}.${side}`];
        const from = source.data as Float32Array;
        const tokens = source.dims[2];
        for (let head = 0; head < kvHeadCount; head++) {
          const start = (freshRow * kvHeadCount + head) * tokens * headDim;
          data.set(from.subarray(start, start + length * headDim), row * rowSize + head * capacity * headDim);
        }
      }
    },
    append(row, position, fresh) {
      for (const { layer, side, data } of blocks) {
        const from = fresh[`new.${layer}.${side}`].data as Float32Array;
        for (let head = 0; head < kvHeadCount; head++) {
          const start = (row * kvHeadCount + head) * headDim;
          const to = row * rowSize + (head * capacity + position) * headDim;
          for (let i = 0; i < headDim; i++) data[to + i] = from[start + i]!;
        }
      }
    },
    select(kept) {
      const smaller = createKvCache(config, kept.length, capacity);
      for (const { layer, side, data } of blocks) {
        const target = smaller.feeds[`past.${layer}.${side}`].data as Float32Array;
        kept.forEach((row, to) =>
          target.set(data.subarray(row * rowSize, (row + 1) * rowSize), to * rowSize),
        );
      }
      return smaller;
    },
  };
}
