import { createTensor } from '@parley/graph';
import { planBatches } from './batch-plan.js';
import type { ModelConfig } from './config.js';
import { buildHiddenStates, buildTokenLogProbs } from './inference-graphs.js';
import type { Score, ScoreItem } from './language-model.js';
import { int64Tensor } from './pass-runner.js';
import type { PassRunner, WeightFeeds } from './pass-runner.js';
import type { SequenceFeeds } from './sequence-feeds.js';

/** What scoring runs with. */
export interface ScorerContext {
  readonly config: ModelConfig;
  readonly runner: PassRunner;
  readonly sequences: SequenceFeeds;
  readonly maxBatchTokens: number;
}

/** Logits held at once while scoring, in elements (64 MiB): wide vocabularies are scored a few rows at a time. */
const maxLogits = 1 << 24;

/** A sequence as a causal model reads it: all tokens but the last go in, and the rows that predict the target are known. */
export interface CausalSequence {
  readonly input: number[];
  /** Row of the input that predicts the first target token; the others follow. */
  readonly firstRow: number;
  readonly target: readonly number[];
}

/** Lays a context and the span that follows it out for a causal pass. */
export function causalSequence(prompt: readonly number[], target: readonly number[]): CausalSequence {
  return { input: [...prompt, ...target.slice(0, -1)], firstRow: prompt.length - 1, target };
}

/** Indices, in a padded batch, of the rows that predict targets, in the order of sequences and tokens. */
export function targetRows(sequences: readonly CausalSequence[], paddedTokens: number): number[] {
  return sequences.flatMap(({ firstRow, target }, row) =>
    target.map((_, i) => row * paddedTokens + firstRow + i),
  );
}

/** Hidden states [rows, hidden] of the target rows of one batch. */
export async function hiddenOfTargets(
  { config, runner, sequences }: Pick<ScorerContext, 'config' | 'runner' | 'sequences'>,
  weights: WeightFeeds,
  batch: readonly CausalSequence[],
): Promise<Float32Array> {
  const pass = await runner.pass('hidden-states', () => buildHiddenStates(config));
  const padded = sequences.batch(
    batch.map((s) => s.input),
    weights,
  );
  const rows = targetRows(batch, padded.tokens);
  const outputs = await pass.run(weights, { ...padded.feeds, rows: int64Tensor(rows, [rows.length]) });
  return outputs['hidden'].data as Float32Array;
}

/** Log-likelihood of every item's target given its prompt, in the order of the items. */
export async function score(
  context: ScorerContext,
  weights: WeightFeeds,
  items: readonly ScoreItem[],
): Promise<Score[]> {
  const all = items.map(({ prompt, target }) => causalSequence(prompt, target));
  const scores = new Array<Score>(items.length);
  const lengths = all.map((s) => s.input.length);
  for (const indices of planBatches(lengths, {
    maxTokens: context.maxBatchTokens,
    evenLengths: true,
  })) {
    const batch = indices.map((index) => all[index]);
    const hidden = await hiddenOfTargets(context, weights, batch);
    const logProbs = await tokenLogProbs(
      context,
      weights,
      hidden,
      batch.flatMap((s) => s.target),
    );
    let offset = 0;
    for (const index of indices) {
      const count = all[index].target.length;
      const tokenLogProbs = logProbs.slice(offset, offset + count);
      scores[index] = { logProb: tokenLogProbs.reduce((a, b) => a + b, 0), tokens: count, tokenLogProbs };
      offset += count;
    }
  }
  return scores;
}

async function tokenLogProbs(
  { config, runner }: ScorerContext,
  weights: WeightFeeds,
  hidden: Float32Array,
  labels: readonly number[],
): Promise<Float32Array> {
  const pass = await runner.pass('token-log-probs', () => buildTokenLogProbs(config));
  const width = config.hiddenSize;
  const chunk = Math.max(1, Math.floor(maxLogits / config.vocabSize));
  const out = new Float32Array(labels.length);
  for (let start = 0; start < labels.length; start += chunk) {
    const end = Math.min(start + chunk, labels.length);
    const { logProbs } = await pass.run(weights, {
      hidden: createTensor('float32', [end - start, width], hidden.subarray(start * width, end * width)),
      labels: int64Tensor(labels.slice(start, end), [end - start, 1]),
    });
    out.set(logProbs.data as Float32Array, start);
  }
  return out;
}
