import { createTensor } from '@parley/graph';
import type { Tensor } from '@parley/graph';
import { maskName } from './attention-graph.js';
import { fillDecodeMask } from './attention-mask.js';
import { planBatches, roundUp } from './batch-plan.js';
import type { ModelConfig } from './config.js';
import { buildDecode, buildPrefill } from './inference-graphs.js';
import { createKvCache } from './kv-cache.js';
import type { KvCache } from './kv-cache.js';
import type { Completion, GenerateHooks, GenerateItem } from './language-model.js';
import { LmError } from './lm-error.js';
import { int64Tensor } from './pass-runner.js';
import type { PassRunner, WeightFeeds } from './pass-runner.js';
import { createRow } from './generation-row.js';
import type { GenerationRow, GenerationSettings } from './generation-row.js';
import { readSample, samplingFeeds, samplingMode, samplingOutputs } from './sampling-head.js';
import { lookUp } from './sequence-feeds.js';
import type { SequenceFeeds } from './sequence-feeds.js';

/** What a generation runs with. */
export interface GeneratorContext {
  readonly config: ModelConfig;
  readonly runner: PassRunner;
  readonly sequences: SequenceFeeds;
  readonly maxBatch: number;
  readonly maxBatchTokens: number;
}

/** Cache positions are allocated in multiples of this. */
const cacheStep = 16;
/** A batch shrinks once at most this share of its rows is still running. */
const shrinkAt = 0.75;

/**
 * Continues every item. The batches are a function of the request alone, and each row draws from its own stream of random
 * numbers, so the same request gives the same completions.
 * @param weights merged weights, by Hugging Face name
 */
export async function generate(
  context: GeneratorContext,
  weights: WeightFeeds,
  items: readonly GenerateItem[],
  settings: GenerationSettings,
  hooks: GenerateHooks,
): Promise<Completion[]> {
  const completions = new Array<Completion>(items.length);
  const lengths = items.map((item) => item.prompt.length);
  for (const batch of planBatches(lengths, { maxItems: context.maxBatch })) {
    const rows = batch.map((index) => createRow(index, items[index], settings));
    await runBatch(context, weights, rows, settings, hooks, (row) => {
      completions[row.index] = row.completion();
      hooks.onCompletion?.(row.index, completions[row.index]);
    });
  }
  return completions;
}

async function runBatch(
  context: GeneratorContext,
  weights: WeightFeeds,
  rows: GenerationRow[],
  settings: GenerationSettings,
  { signal }: GenerateHooks,
  finish: (row: GenerationRow) => void,
): Promise<void> {
  const longest = Math.max(...rows.map((row) => row.prompt.length));
  const capacity = roundUp(longest + settings.maxTokens, cacheStep);
  let cache = createKvCache(context.config, rows.length, capacity);
  await prefill(context, weights, rows, cache, settings, signal);
  let slots = rows;
  let step = createDecodeStep(context, cache, settings);
  for (;;) {
    for (const row of slots) if (row.justFinished()) finish(row);
    const running = slots.flatMap((row, slot) => (row.finished ? [] : [slot]));
    if (running.length === 0) return;
    checkAbort(signal);
    if (running.length <= shrinkAt * slots.length) {
      cache = cache.select(running);
      slots = running.map((slot) => slots[slot]);
      step = createDecodeStep(context, cache, settings);
    }
    await step(weights, slots);
  }
}

/** Runs the prompts, a bounded number of tokens at a time, fills the cache and draws each row's first token. */
async function prefill(
  { config, runner, sequences, maxBatchTokens }: GeneratorContext,
  weights: WeightFeeds,
  rows: readonly GenerationRow[],
  cache: KvCache,
  settings: GenerationSettings,
  signal: AbortSignal | undefined,
): Promise<void> {
  const mode = samplingMode(config, [settings]);
  const pass = await runner.pass(`prefill.${mode}`, () => buildPrefill(config, mode));
  const lengths = rows.map((row) => row.prompt.length);
  for (const part of planBatches(lengths, { maxTokens: maxBatchTokens, evenLengths: true })) {
    checkAbort(signal);
    const batch = sequences.batch(
      part.map((slot) => rows[slot].prompt),
      weights,
    );
    const last = int64Tensor(
      part.map((slot) => lengths[slot] - 1),
      [part.length, 1],
    );
    const drawn = part.map((slot) => rows[slot]);
    const feeds = { ...batch.feeds, last, ...samplingFeeds(mode, drawn) };
    const outputs = await pass.run(weights, feeds);
    part.forEach((slot, i) => {
      cache.writePrompt(slot, outputs, i, lengths[slot]);
      rows[slot].append(readSample(mode, outputs, i, rows[slot]));
    });
  }
}

type DecodeStep = (weights: WeightFeeds, slots: readonly GenerationRow[]) => Promise<void>;

/** One token for every unfinished row of a cache; buffers are allocated once and reused. */
function createDecodeStep(
  { config, runner, sequences }: GeneratorContext,
  cache: KvCache,
  settings: GenerationSettings,
): DecodeStep {
  const mode = samplingMode(config, [settings]);
  const { rows, capacity } = cache;
  const { hiddenSize, layerCount, kvHeadCount, headDim } = config;
  const x = new Float32Array(rows * hiddenSize);
  const positions = new BigInt64Array(rows);
  const masks = [...new Set(config.windows)].map((window) => ({
    window,
    data: new Float32Array(rows * capacity),
  }));
  const feeds: Record<string, Tensor> = {
    x: createTensor('float32', [rows, hiddenSize], x),
    positions: createTensor('int64', [rows, 1], positions),
    ...sequences.rope(capacity),
    ...cache.feeds,
  };
  for (const { window, data } of masks) {
    feeds[maskName(window)] = createTensor('float32', [rows, 1, 1, capacity], data);
  }
  const fetches: Record<string, Tensor | null> = {};
  for (const name of samplingOutputs(mode)) fetches[name] = null;
  for (let layer = 0; layer < layerCount; layer++) {
    for (const side of ['key', 'value']) {
      fetches[`new.${layer}.${side}`] = createTensor('float32', [rows, kvHeadCount, 1, headDim]);
    }
  }
  return async (weights, slots) => {
    const pass = await runner.pass(`decode.${mode}`, () => buildDecode(config, mode));
    const embedding = sequences.embedding(weights);
    slots.forEach((row, slot) => {
      lookUp(embedding, hiddenSize, [row.lastToken], x, slot);
      positions[slot] = BigInt(row.position);
      for (const { window, data } of masks) {
        fillDecodeMask(data.subarray(slot * capacity, (slot + 1) * capacity), row.position, window);
      }
    });
    const outputs = await pass.run(weights, { ...feeds, ...samplingFeeds(mode, slots) }, fetches);
    slots.forEach((row, slot) => {
      if (row.finished) return;
      cache.append(slot, row.position, outputs);
      row.append(readSample(mode, outputs, slot, row));
    });
  };
}

function checkAbort(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new LmError('ABORTED', 'The generation was aborted by its caller.');
}
