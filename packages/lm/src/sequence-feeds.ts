import { createTensor } from '@parley/graph';
import type { Tensor } from '@parley/graph';
import { maskName } from './attention-graph.js';
import { causalMask } from './attention-mask.js';
import type { ModelConfig } from './config.js';
import { parameterNames } from './config-parameters.js';
import { int64Tensor } from './pass-runner.js';
import type { WeightFeeds } from './pass-runner.js';
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
  /** Looks the tokens up in the embedding of `weights`. */
  batch(sequences: readonly (readonly number[])[], weights: WeightFeeds): SequenceBatch;
  /** The embedding table [vocabulary, hidden] among `weights`. */
  embedding(weights: WeightFeeds): Float32Array;
  /** Rotary tables of at least `positions` positions, as feeds. */
  rope(positions: number): Readonly<Record<string, Tensor>>;
}

/** Copies the embeddings of `tokens` into consecutive rows of `out`. */
export function lookUp(
  embedding: Float32Array,
  width: number,
  tokens: readonly number[],
  out: Float32Array,
  row = 0,
): void {
  for (let i = 0; i < tokens.length; i++) {
    const from = tokens[i] * width;
    out.set(embedding.subarray(from, from + width), (row + i) * width);
  }
}

/** See {@link SequenceFeeds}. */
export function createSequenceFeeds(config: ModelConfig): SequenceFeeds {
  const half = config.headDim / 2;
  const embeddingName = parameterNames(config).embedding;
  const embedding = (weights: WeightFeeds): Float32Array => weights[embeddingName].data as Float32Array;
  const windows = [...new Set(config.windows)];
  let tables: Readonly<Record<string, Tensor>> = {};
  let covered = 0;
  let masks: { tokens: number; feeds: Record<string, Tensor> } = { tokens: 0, feeds: {} };

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
  const maskFeeds = (tokens: number): Record<string, Tensor> => {
    if (masks.tokens !== tokens) {
      const entries = windows.map((w) => [
        maskName(w),
        createTensor('float32', [1, 1, 1, tokens, tokens], causalMask(tokens, w)),
      ]);
      masks = { tokens, feeds: Object.fromEntries(entries) as Record<string, Tensor> };
    }
    return masks.feeds;
  };
  return {
    rope,
    embedding,
    batch(sequences, weights) {
      const table = embedding(weights);
      const rows = sequences.length;
      const tokens = Math.max(...sequences.map((s) => s.length));
      const width = config.hiddenSize;
      const x = new Float32Array(rows * tokens * width);
      sequences.forEach((sequence, row) => lookUp(table, width, sequence, x, row * tokens));
      const positions = Array.from({ length: rows * tokens }, (_, i) => i % tokens);
      return {
        rows,
        tokens,
        feeds: {
          x: createTensor('float32', [rows * tokens, width], x),
          positions: int64Tensor(positions, [rows, tokens]),
          ...rope(tokens),
          ...maskFeeds(tokens),
        },
      };
    },
  };
}
