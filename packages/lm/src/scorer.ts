import { planBatches } from './batch-plan.js';
import { parameterCount } from './config-parameters.js';
import type { ModelConfig } from './config.js';
import type { Forward } from './forward.js';
import { extendPrefix } from './generation-scheduler.js';
import { capacityFor, createKvCache } from './kv-cache.js';
import type { Score, ScoreItem } from './language-model.js';
import type { ServedWeights } from './model-weights.js';
import { int64Tensor } from './pass-runner.js';

/** What scoring runs with. */
export interface ScorerContext {
  readonly config: ModelConfig;
  readonly forward: Forward;
  readonly maxBatchTokens: number;
}

/** Floating-point operations from which sharing a prompt is worth passes of its own: those of some milliseconds. */
const sharingFlops = 1e9;
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
  { forward }: Pick<ScorerContext, 'forward'>,
  weights: ServedWeights,
  batch: readonly CausalSequence[],
): Promise<Float32Array> {
  const { hidden } = await forward.extend(weights, {
    tokens: batch.map(({ input }) => input),
    starts: batch.map(() => 0),
    wanted: wantedRows(batch, 0),
  });
  return hidden;
}

/** Rows that predict targets, when `known` tokens of each sequence were read before. */
function wantedRows(batch: readonly CausalSequence[], known: number): [row: number, index: number][] {
  return batch.flatMap(({ firstRow, target }, row) =>
    target.map((_, i): [number, number] => [row, firstRow - known + i]),
  );
}

/** Log-likelihood of every item's target given its prompt, in the order of the items. What items of one prompt share is computed once. */
export async function score(
  context: ScorerContext,
  weights: ServedWeights,
  items: readonly ScoreItem[],
): Promise<Score[]> {
  const all = items.map(({ prompt, target }) => causalSequence(prompt, target));
  const scores = new Array<Score>(items.length);
  const apart: number[] = [];
  for (const group of groupsOfOnePrompt(items)) {
    if (!isWorthSharing(context.config, items[group[0]].prompt.length, group.length)) {
      apart.push(...group);
      continue;
    }
    await scoreShared(context, weights, items[group[0]].prompt, group, all, scores);
  }
  const lengths = apart.map((index) => all[index].input.length);
  for (const part of planBatches(lengths, { maxTokens: context.maxBatchTokens, evenLengths: true })) {
    const indices = part.map((i) => apart[i]);
    const hidden = await hiddenOfTargets(
      context,
      weights,
      indices.map((index) => all[index]),
    );
    await scoreHidden(context, weights, hidden, indices, all, scores);
  }
  return scores;
}

/** Indices of items by prompt, in the order of their first ones. */
function groupsOfOnePrompt(items: readonly ScoreItem[]): number[][] {
  const groups = new Map<string, number[]>();
  items.forEach(({ prompt }, index) => {
    const key = prompt.join();
    const group = groups.get(key);
    if (group) group.push(index);
    else groups.set(key, [index]);
  });
  return [...groups.values()];
}

/** Whether the tokens saved pay for passes of their own; a small model computes hundreds of tokens in the time of a pass. */
function isWorthSharing(config: ModelConfig, promptTokens: number, items: number): boolean {
  return 2 * parameterCount(config) * (promptTokens - 1) * (items - 1) > sharingFlops;
}

/** Reads a prompt once and every answer to it after that, by as many at a time as the token budget allows. */
async function scoreShared(
  context: ScorerContext,
  weights: ServedWeights,
  prompt: readonly number[],
  group: readonly number[],
  all: readonly CausalSequence[],
  scores: Score[],
): Promise<void> {
  const { config, forward, maxBatchTokens } = context;
  // The prompt's last token predicts the first of every answer, so it is read with them.
  const known = prompt.length - 1;
  const prefix = { cache: createKvCache(config, 1, capacityFor(known)), length: 0 };
  for (let from = 0; from < known; from += maxBatchTokens) {
    await extendPrefix(forward, weights, prefix, prompt.slice(from, Math.min(known, from + maxBatchTokens)));
  }
  const lengths = group.map((index) => all[index].input.length - known);
  for (const part of planBatches(lengths, { maxTokens: maxBatchTokens, evenLengths: true })) {
    const indices = part.map((i) => group[i]);
    const batch = indices.map((index) => all[index]);
    const { hidden } = await forward.extend(weights, {
      tokens: batch.map(({ input }) => input.slice(known)),
      starts: batch.map(() => known),
      past: { cache: prefix.cache, first: 0, shared: true },
      wanted: wantedRows(batch, known),
    });
    await scoreHidden(context, weights, hidden, indices, all, scores);
  }
}

/** Turns the hidden states of some sequences' target rows into their scores. */
async function scoreHidden(
  { config, forward }: ScorerContext,
  weights: ServedWeights,
  hidden: Float32Array,
  indices: readonly number[],
  all: readonly CausalSequence[],
  scores: Score[],
): Promise<void> {
  const labels = indices.flatMap((index) => all[index].target);
  const width = config.hiddenSize;
  const chunk = Math.max(1, Math.floor(maxLogits / config.vocabSize));
  const logProbs = new Float32Array(labels.length);
  for (let start = 0; start < labels.length; start += chunk) {
    const end = Math.min(start + chunk, labels.length);
    const states = hidden.subarray(start * width, end * width);
    const outputs = await forward.head(weights, states, 'score', (count) => ({
      labels: int64Tensor(
        Array.from({ length: count }, (_, i) => labels[Math.min(start + i, end - 1)]),
        [count, 1],
      ),
    }));
    logProbs.set((outputs['logProbs'].data as Float32Array).subarray(0, end - start), start);
  }
  let offset = 0;
  for (const index of indices) {
    const count = all[index].target.length;
    const tokenLogProbs = logProbs.slice(offset, offset + count);
    scores[index] = { logProb: tokenLogProbs.reduce((a, b) => a + b, 0), tokens: count, tokenLogProbs };
    offset += count;
  }
}
