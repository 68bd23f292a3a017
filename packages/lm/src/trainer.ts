import { createTensor } from '@parley/graph';
import type { Tensor } from '@parley/graph';
import { adamwStep, clipScale, globalNorm } from './adamw.js';
import type { Moments, OptimizerSettings } from './adamw.js';
import { planBatches } from './batch-plan.js';
import { parameterNames } from './config-parameters.js';
import type { ModelConfig } from './config.js';
import type { Forward } from './forward.js';
import { createGradientSums } from './gradient-sums.js';
import type { GradientSums } from './gradient-sums.js';
import type { TrainSequence, TrainStep } from './language-model.js';
import { LmError } from './lm-error.js';
import type { TrainingPlan } from './memory-plan.js';
import type { ModelWeights, TrainableParameter } from './model-weights.js';
import type { PassRunner } from './pass-runner.js';
import { causalSequence, hiddenOfTargets } from './scorer.js';
import type { SequenceFeeds } from './sequence-feeds.js';
import { targetFeeds, weighSequence } from './training-batch.js';
import type { WeightedSequence } from './training-batch.js';
import { buildTraining, chunkName, lossChunkRows, lossChunks, referenceHeadName } from './training-graph.js';

/** What training runs with. */
export interface TrainerContext {
  readonly config: ModelConfig;
  readonly runner: PassRunner;
  readonly sequences: SequenceFeeds;
  readonly forward: Forward;
  readonly weights: ModelWeights;
  /** How to train sequences of up to so many tokens; throws what `planTraining` throws. */
  readonly plan: (sequenceTokens: number) => TrainingPlan;
}

/** Optimiser state that a checkpoint carries. */
export interface OptimizerState {
  /** Steps taken. */
  step: number;
  /** By parameter name; empty before the first step. */
  moments: Map<string, Moments>;
}

/** Trains a model in place. */
export interface Trainer {
  readonly state: OptimizerState;
  /** See `LanguageModel.trainStep`. */
  step(batch: readonly TrainSequence[], settings: OptimizerSettings): Promise<TrainStep>;
  /**
   * Negative log-likelihoods of the target tokens, of one sequence after another, by the graph that training computes its losses
   * with: all in one pass, so give few tokens. Changes nothing.
   */
  losses(batch: readonly Pick<TrainSequence, 'prompt' | 'target'>[]): Promise<Float32Array>;
}

/** A trainer with fresh optimiser state. Memory for gradients and moments is taken at the first step. */
export function createTrainer(context: TrainerContext): Trainer {
  const { config, weights, plan } = context;
  const state: OptimizerState = { step: 0, moments: new Map() };
  let gradients: GradientSums | undefined;
  return {
    state,
    async step(batch, settings) {
      const weighted = batch.map((source) =>
        weighSequence(causalSequence(source.prompt, source.target), source, batch.length),
      );
      const planned = plan(Math.max(...weighted.map(({ input }) => input.length)));
      gradients ??= createGradientSums(config, weights.trainable);
      const losses: Losses = { loss: 0, anchorLoss: 0 };
      gradients.start();
      for (const part of microBatches(weighted, planned.passTokens)) {
        await addMicroBatch(context, planned, part, gradients, losses);
      }
      const gradNorm = globalNorm(gradients.values.values());
      if (!Number.isFinite(gradNorm + losses.loss + losses.anchorLoss)) throw notFinite(losses, gradNorm);
      weights.beforeChange();
      update(weights.trainable, gradients.values, state, settings, clipScale(gradNorm, settings.maxGradNorm));
      const tokens = batch.reduce((count, { target }) => count + target.length, 0);
      return { ...losses, gradNorm, tokens };
    },
    losses: (batch) => lossesOf(context, batch),
  };
}

/** See {@link Trainer.losses}. */
async function lossesOf(
  { config, runner, sequences, weights }: TrainerContext,
  batch: readonly Pick<TrainSequence, 'prompt' | 'target'>[],
): Promise<Float32Array> {
  const weighted = batch.map(({ prompt, target }) =>
    weighSequence(causalSequence(prompt, target), { prompt, target, weight: 0 }, batch.length),
  );
  const targets = weighted.reduce((count, { target }) => count + target.length, 0);
  const chunks = lossChunks(config, targets, null);
  const shape = { chunks, anchored: false, keep: null, quantized: weights.base.quantized.size > 0 };
  const pass = await runner.pass(`losses.${chunks}`, () => buildTraining(config, weights.adapters, shape));
  const training = weights.training();
  const padded = sequences.batch(
    weighted.map((s) => s.input),
    training.embedding,
  );
  const { feeds } = targetFeeds(weighted, padded.tokens, chunks, false);
  const unread = new Set(['place', ...chunkNames('weight.crossEntropy', chunks)]);
  const own = Object.fromEntries(Object.entries(feeds).filter(([name]) => !unread.has(name)));
  const outputs = await pass.run(training.feeds, { ...padded.feeds, ...own });
  const all = new Float32Array(targets);
  let at = 0;
  for (const name of chunkNames('nll', chunks)) {
    const nll = (outputs[name].data as Float32Array).subarray(0, targets - at);
    all.set(nll, at);
    at += nll.length;
  }
  return all;
}

function chunkNames(name: string, chunks: number): string[] {
  return Array.from({ length: chunks }, (_, i) => chunkName(name, i));
}

/** Weighted losses summed over the micro-batches of one step. */
interface Losses {
  loss: number;
  anchorLoss: number;
}

/** Runs one forward and backward pass and adds its gradients and losses. */
async function addMicroBatch(
  context: TrainerContext,
  { keep, passTokens, alone }: TrainingPlan,
  batch: readonly WeightedSequence[],
  gradients: GradientSums,
  losses: Losses,
): Promise<void> {
  const { config, runner, sequences, weights } = context;
  const anchored = batch.some((s) => s.divergence !== 0);
  const targets = batch.reduce((count, { target }) => count + target.length, 0);
  // Few graphs serve all numbers of targets: one for those of a single chunk, and one for each number of tokens that passes have.
  const chunks =
    targets <= lossChunkRows(config, keep) ? 1 : lossChunks(config, Math.max(targets, passTokens), keep);
  const quantized = weights.base.quantized.size > 0;
  const pass = await runner.pass(
    `train.${chunks}.${anchored}.${keep}`,
    () => buildTraining(config, weights.adapters, { chunks, anchored, keep, quantized }),
    alone ? 'train' : undefined,
  );
  const training = weights.training();
  const padded = sequences.batch(
    batch.map((s) => s.input),
    training.embedding,
  );
  const target = targetFeeds(batch, padded.tokens, chunks, anchored);
  const reference = anchored ? await referenceFeeds(context, batch, chunks, target.chunkRows) : {};
  const perChunk = (name: string): string[] => chunkNames(name, chunks);
  const outputs = await pass.run(
    training.feeds,
    { ...padded.feeds, ...target.feeds, ...reference, ...gradients.feeds },
    {
      ...Object.fromEntries(
        [...perChunk('nll'), ...(anchored ? perChunk('kl') : [])].map((name) => [name, null]),
      ),
      ...gradients.fetches(padded.rows * padded.tokens),
    },
  );
  gradients.addEmbeddings(batch, padded.tokens, outputs);
  const weighted = (name: string, factors: Float32Array): number =>
    perChunk(name).reduce((sum, output, i) => {
      const own = factors.subarray(i * target.chunkRows, (i + 1) * target.chunkRows);
      return sum + dot(own, outputs[output].data as Float32Array);
    }, 0);
  losses.loss += weighted('nll', target.crossEntropy);
  if (anchored) losses.anchorLoss += weighted('kl', target.divergence);
}

/** Sequences that contribute, split by token budget; anchored ones apart, because only they pay for the reference. */
function microBatches(all: readonly WeightedSequence[], maxTokens: number): WeightedSequence[][] {
  const anchored = all.filter((s) => s.divergence !== 0);
  const plain = all.filter((s) => s.divergence === 0 && s.crossEntropy.some((w) => w !== 0));
  return [plain, anchored].flatMap((group) =>
    planBatches(
      group.map((s) => s.input.length),
      { maxTokens, evenLengths: true },
    ).map((indices) => indices.map((i) => group[i])),
  );
}

/** The anchor's hidden states of the target rows, and its output matrix when the model's own one trains. */
async function referenceFeeds(
  { config, forward, weights }: TrainerContext,
  batch: readonly WeightedSequence[],
  chunks: number,
  chunkRows: number,
): Promise<Record<string, Tensor>> {
  const reference = weights.anchor();
  const width = config.hiddenSize;
  const hidden = new Float32Array(chunks * chunkRows * width);
  hidden.set(await hiddenOfTargets({ forward }, reference, batch));
  const feeds: Record<string, Tensor> = {};
  for (let i = 0; i < chunks; i++) {
    const part = hidden.subarray(i * chunkRows * width, (i + 1) * chunkRows * width);
    feeds[chunkName('reference.hidden', i)] = createTensor('float32', [chunkRows, width], part);
  }
  if (weights.adapters.length === 0) feeds[referenceHeadName] = reference.feeds[parameterNames(config).head];
  return feeds;
}

function update(
  trainable: readonly TrainableParameter[],
  gradients: ReadonlyMap<string, Float32Array>,
  state: OptimizerState,
  settings: OptimizerSettings,
  scale: number,
): void {
  state.step++;
  for (const { name, shape, data } of trainable) {
    let moments = state.moments.get(name);
    if (!moments) {
      moments = { first: new Float32Array(data.length), second: new Float32Array(data.length) };
      state.moments.set(name, moments);
    }
    const decay = shape.length > 1;
    adamwStep(data, gradients.get(name)!, moments, { ...settings, decay }, state.step, scale);
  }
}

function dot(weights: Float32Array, values: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < weights.length; i++) sum += weights[i] === 0 ? 0 : weights[i] * values[i];
  return sum;
}

function notFinite(sum: Losses, gradNorm: number): LmError {
  return new LmError(
    'GRADIENT_NOT_FINITE',
    `The training step gave loss ${sum.loss}, anchor loss ${sum.anchorLoss} and gradient norm ${gradNorm}; the weights were left ` +
      'as they were. Lower the learning rate, or restore an earlier version if the weights have diverged.',
  );
}
