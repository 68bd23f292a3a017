import { createTensor } from '@parley/graph';
import type { Tensor } from '@parley/graph';
import { adamwStep, clipScale, globalNorm } from './adamw.js';
import type { Moments, OptimizerSettings } from './adamw.js';
import { planBatches, roundUp } from './batch-plan.js';
import { parameterNames } from './config-parameters.js';
import type { ModelConfig } from './config.js';
import type { TrainSequence, TrainStep } from './language-model.js';
import { LmError } from './lm-error.js';
import type { ModelWeights, TrainableParameter } from './model-weights.js';
import type { PassRunner } from './pass-runner.js';
import { causalSequence, hiddenOfTargets } from './scorer.js';
import type { SequenceFeeds } from './sequence-feeds.js';
import { targetFeeds, weighSequence } from './training-batch.js';
import type { WeightedSequence } from './training-batch.js';
import { buildTraining, gradientName, referenceHeadName } from './training-graph.js';

/** What training runs with. */
export interface TrainerContext {
  readonly config: ModelConfig;
  readonly runner: PassRunner;
  readonly sequences: SequenceFeeds;
  readonly weights: ModelWeights;
  readonly maxBatchTokens: number;
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
}

/**
 * Rows of the loss are padded to multiples of the first step up to its limit, of the second beyond: a training graph is
 * compiled for each number of rows.
 */
const rowSteps = { fine: 64, fineUpTo: 1024, coarse: 256 } as const;

/** Sums over the micro-batches of one step. */
interface Accumulator {
  loss: number;
  anchorLoss: number;
  readonly gradients: ReadonlyMap<string, Float32Array>;
}

/** A trainer with fresh optimiser state. */
export function createTrainer(context: TrainerContext): Trainer {
  const { config, weights, maxBatchTokens } = context;
  const state: OptimizerState = { step: 0, moments: new Map() };
  const gradients = createGradients(weights.trainable);
  return {
    state,
    async step(batch, settings) {
      const weighted = batch.map((source) =>
        weighSequence(causalSequence(source.prompt, source.target), source, batch.length),
      );
      const sum: Accumulator = { loss: 0, anchorLoss: 0, gradients: gradients.start() };
      for (const part of microBatches(weighted, maxBatchTokens))
        await accumulate(context, part, gradients, sum);
      const gradNorm = globalNorm(sum.gradients.values());
      if (!Number.isFinite(gradNorm + sum.loss + sum.anchorLoss)) throw notFinite(sum, gradNorm);
      weights.beforeChange();
      update(weights.trainable, sum.gradients, state, settings, clipScale(gradNorm, settings.maxGradNorm));
      const tokens = batch.reduce((count, { target }) => count + target.length, 0);
      return { loss: sum.loss, anchorLoss: sum.anchorLoss, gradNorm, tokens };
    },
  };

  async function accumulate(
    { runner, sequences }: TrainerContext,
    batch: readonly WeightedSequence[],
    buffers: GradientBuffers,
    sum: Accumulator,
  ): Promise<void> {
    const anchored = batch.some((s) => s.divergence !== 0);
    const targets = batch.reduce((count, { target }) => count + target.length, 0);
    const rows = roundUp(targets, targets <= rowSteps.fineUpTo ? rowSteps.fine : rowSteps.coarse);
    const pass = await runner.pass(`train.${rows}.${anchored}`, () =>
      buildTraining(config, weights.adapters, { rows, anchored }),
    );
    const training = weights.training();
    const padded = sequences.batch(
      batch.map((s) => s.input),
      training,
    );
    const target = targetFeeds(batch, padded.tokens, rows, anchored);
    const feeds: Record<string, Tensor> = { ...padded.feeds, ...target.feeds };
    if (anchored) Object.assign(feeds, await referenceFeeds(context, batch, rows));
    const fetches = buffers.fetches(padded.rows * padded.tokens);
    const outputs = await pass.run(training, feeds, {
      nll: null,
      ...(anchored ? { kl: null } : {}),
      ...fetches.tensors,
    });
    fetches.collect(batch, padded.tokens, outputs);
    sum.loss += dot(target.crossEntropy, outputs['nll'].data as Float32Array);
    if (anchored) sum.anchorLoss += dot(target.divergence, outputs['kl'].data as Float32Array);
  }

  interface GradientBuffers {
    /** Zeroes the sums and returns them. */
    start(): ReadonlyMap<string, Float32Array>;
    fetches(inputRows: number): {
      readonly tensors: Record<string, Tensor | null>;
      collect(
        batch: readonly WeightedSequence[],
        paddedTokens: number,
        outputs: Readonly<Record<string, Tensor>>,
      ): void;
    };
  }

  function createGradients(trainable: readonly TrainableParameter[]): GradientBuffers {
    const embedding = parameterNames(config).embedding;
    const sums = new Map(trainable.map(({ name, data }) => [name, new Float32Array(data.length)]));
    // An untied embedding has no gradient of its own in the graph: only its looked-up rows have.
    const fetched = trainable.filter(({ name }) => name !== embedding || config.tiedEmbeddings);
    const direct = Object.fromEntries(
      fetched.map(({ name, shape }) => [gradientName(name), createTensor('float32', shape, sums.get(name))]),
    );
    let first = true;
    return {
      start() {
        first = true;
        for (const sum of sums.values()) sum.fill(0);
        return sums;
      },
      fetches(inputRows) {
        const intoSums = first;
        first = false;
        const tensors: Record<string, Tensor | null> = intoSums
          ? { ...direct }
          : Object.fromEntries(fetched.map(({ name }) => [gradientName(name), null]));
        if (sums.has(embedding)) {
          tensors[gradientName('x')] = createTensor('float32', [inputRows, config.hiddenSize]);
        }
        return {
          tensors,
          collect(batch, paddedTokens, outputs) {
            if (!intoSums) {
              for (const { name } of fetched)
                addTo(sums.get(name)!, outputs[gradientName(name)].data as Float32Array);
            }
            const table = sums.get(embedding);
            if (table)
              scatterRows(table, batch, paddedTokens, outputs[gradientName('x')].data as Float32Array);
          },
        };
      },
    };
  }

  /**
   * Adds each input row's gradient to the row of the table it was looked up from: sequential, hence without races. As in
   * transformers (`padding_idx`), looking the padding token up does not train it.
   */
  function scatterRows(
    table: Float32Array,
    batch: readonly WeightedSequence[],
    paddedTokens: number,
    gradient: Float32Array,
  ): void {
    const width = config.hiddenSize;
    batch.forEach(({ input }, row) => {
      input.forEach((token, position) => {
        if (token === config.padTokenId) return;
        const from = (row * paddedTokens + position) * width;
        const to = token * width;
        for (let i = 0; i < width; i++) table[to + i] = table[to + i] + gradient[from + i];
      });
    });
  }
}

/** Sequences that contribute, split by token budget; anchored ones apart, because only they pay for the reference. */
function microBatches(all: readonly WeightedSequence[], maxTokens: number): WeightedSequence[][] {
  const anchored = all.filter((s) => s.divergence !== 0);
  const plain = all.filter((s) => s.divergence === 0 && s.crossEntropy.some((w) => w !== 0));
  return [plain, anchored].flatMap((group) =>
    planBatches(
      group.map((s) => s.input.length),
      Infinity,
      maxTokens,
    ).map((indices) => indices.map((i) => group[i])),
  );
}

/** The reference's hidden states of the target rows, and its output matrix when the model's own one trains. */
async function referenceFeeds(
  { config, runner, sequences, weights }: TrainerContext,
  batch: readonly WeightedSequence[],
  rows: number,
): Promise<Record<string, Tensor>> {
  const reference = weights.reference();
  const hidden = new Float32Array(rows * config.hiddenSize);
  hidden.set(await hiddenOfTargets({ config, runner, sequences }, reference, batch));
  return {
    'reference.hidden': createTensor('float32', [rows, config.hiddenSize], hidden),
    ...(weights.adapters.length > 0 ? {} : { [referenceHeadName]: reference[parameterNames(config).head] }),
  };
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

function addTo(sum: Float32Array, term: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] = sum[i] + term[i];
}

function dot(weights: Float32Array, values: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < weights.length; i++) sum += weights[i] === 0 ? 0 : weights[i] * values[i];
  return sum;
}

function notFinite(sum: Accumulator, gradNorm: number): LmError {
  return new LmError(
    'GRADIENT_NOT_FINITE',
    `The training step gave loss ${sum.loss}, anchor loss ${sum.anchorLoss} and gradient norm ${gradNorm}; the weights were left ` +
      'as they were. Lower the learning rate, or restore an earlier version if the weights have diverged.',
  );
}
