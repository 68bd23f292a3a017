import { createTensor } from '@parley/graph';
import type { Tensor } from '@parley/graph';
import { maskName } from './attention-graph.js';
import { causalMask } from './attention-mask.js';
import type { EmbeddingTable } from './base-weights.js';
import type { ModelConfig } from './config.js';
import { int64Tensor } from './pass-runner.js';
import { ropeTables } from './rope.js';

/** Sequences padded on the right to a common length, with what a causal pass over them is fed. */
export interface SequenceBatch {
  readonly rows: number;
  /** Length of every padded row. */
  readonly tokens: number;
  /** Inputs `x`, `positions`, `rope.cos`, `rope.sin` and the masks. */
  readonly feeds: Readonly<Record<string, Tensor>>;
}

/** Builds batches for causal passes; keeps the tables that depend on lengths alone. */
export interface SequenceFeeds {
  batch(sequences: readonly (readonly number[])[], embedding: EmbeddingTable): SequenceBatch;
  /** Rotary tables of at least `positions` positions, as feeds. */
  rope(positions: number): Readonly<Record<string, Tensor>>;
}

/** Lengths whose masks are kept. */
const keptMasks = 8;

/** See {@link SequenceFeeds}. */
export function createSequenceFeeds(config: ModelConfig): SequenceFeeds {
  const half = config.headDim / 2;
  const windows = [...new Set(config.windows)];
  let tables: Readonly<Record<string, Tensor>> = {};
  let covered = 0;
  const masks = new Map<number, Readonly<Record<string, Tensor>>>();

  const rope = (positions: number): Readonly<Record<string, Tensor>> => {
    if (positions <= covered) return tables;
    covered = Math.min(config.maxPositions, Math.max(positions, 2 * covered, 64));
    const { cos, sin } = ropeTables(config, covered);
    tables = {
      'rope.cos': createTensor('float32', [covered, half], cos),
      'rope.sin': createTensor('float32', [covered, half], sin),
    };
    return tables;
  };
  const masksOf = (tokens: number): Readonly<Record<string, Tensor>> => {
    const known = masks.get(tokens);
    if (known) return known;
    const entries = windows.map((w) => [
      maskName(w),
      createTensor('float32', [1, 1, 1, tokens, tokens], causalMask(tokens, w)),
    ]);
    const feeds = Object.fromEntries(entries) as Record<string, Tensor>;
    if (masks.size >= keptMasks) masks.clear();
    masks.set(tokens, feeds);
    return feeds;
  };
  return {
    rope,
    batch(sequences, embedding) {
      const rows = sequences.length;
      const tokens = Math.max(...sequences.map((s) => s.length));
      const width = config.hiddenSize;
      const x = new Float32Array(rows * tokens * width);
      sequences.forEach((sequence, row) => embedding.lookUp(sequence, x, row * tokens));
      const positions = Array.from({ length: rows * tokens }, (_, i) => i % tokens);
      return {
        rows,
        tokens,
        feeds: {
          x: createTensor('float32', [rows * tokens, width], x),
          positions: int64Tensor(positions, [rows, tokens]),
          ...rope(tokens),
          ...masksOf(tokens),
        },
      };
    },
  };
}
