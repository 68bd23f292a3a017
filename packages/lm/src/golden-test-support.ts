import assert from 'node:assert/strict';
import { createGraph, createSession, productOf } from '@parley/graph';
import { attentionInputs, causalAttention } from './attention-graph.js';
import type { ModelConfig } from './config.js';
import { parameterShapes } from './config-parameters.js';
import { embeddingTable } from './base-weights.js';
import { createDecoderBuilder, decoderLayers } from './decoder-graph.js';
import type { TrainSequence } from './language-model.js';
import { weightFeeds } from './pass-runner.js';
import { createSequenceFeeds } from './sequence-feeds.js';

/** A training sequence as the goldens have it. */
export interface GoldenSequence {
  readonly ids: number[];
  readonly targetStart: number;
  readonly weight: number;
}

/** The engine's form of a golden batch. */
export function sequencesOf(batch: readonly GoldenSequence[]): TrainSequence[] {
  return batch.map(({ ids, targetStart, weight }) => ({
    prompt: ids.slice(0, targetStart),
    target: ids.slice(targetStart),
    weight,
  }));
}

/** max |aᵢ − bᵢ|. */
export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length);
  let max = 0;
  for (let i = 0; i < a.length; i++) max = Math.max(max, Math.abs(a[i] - b[i]));
  return max;
}

/** Logits [tokens, vocabulary] after every token of each sequence, run as one padded batch. */
export async function logitsAfterEachToken(
  { config, tensors }: { config: ModelConfig; tensors: Map<string, Float32Array> },
  sequences: readonly number[][],
): Promise<Float32Array[]> {
  const g = createGraph('logits');
  const builder = createDecoderBuilder(g, config);
  const x = g.input('x', [productOf(['B', 'T']), config.hiddenSize]);
  const inputs = attentionInputs(builder, 'B', 'T', [1, 1, 1, 'T', 'T']);
  g.output(builder.logits(decoderLayers(builder, x, causalAttention(builder, inputs, 'B', 'T'))), 'logits');
  await using session = await createSession(g, { threads: 1, spinning: false });
  const weights = weightFeeds(tensors, parameterShapes(config));
  const batch = createSequenceFeeds(config).batch(sequences, embeddingTable(config, weights, new Map()));
  const used = Object.fromEntries(builder.used().map((name) => [name, weights[name]]));
  const outputs = await session.run({ ...batch.feeds, ...used });
  const all = outputs.logits.data as Float32Array;
  return sequences.map((s, row) => {
    const start = row * batch.tokens * config.vocabSize;
    return all.slice(start, start + s.length * config.vocabSize);
  });
}
