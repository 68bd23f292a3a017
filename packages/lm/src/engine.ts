import { createBaseWeightsBuilder } from './base-weights.js';
import type { BaseWeights } from './base-weights.js';
import { readCheckpoint } from './checkpoint.js';
import type { OptimizerSettings } from './adamw.js';
import { parameterCount, parameterShapes } from './config-parameters.js';
import { readModelConfig } from './config.js';
import type { ModelConfig } from './config.js';
import type { GenerationSettings } from './generation-row.js';
import { createForward } from './forward.js';
import { createGenerationScheduler, pieceTokens } from './generation-scheduler.js';
import { initWeights } from './init-weights.js';
import { coarseActivations, fineActivations } from './int8-linear.js';
import type {
  AnchorTarget,
  Completion,
  EngineOptions,
  GenerateHooks,
  GenerateItem,
  GenerateOptions,
  LanguageModelInfo,
  Quantization,
  Score,
  ScoreItem,
  Tensor,
  Trainable,
  TrainSequence,
  TrainStep,
} from './language-model.js';
import { LmError } from './lm-error.js';
import { loraAdapters } from './lora.js';
import { defaultPassTokens, inferenceBytes, memoryLimit, planTraining } from './memory-plan.js';
import type { TrainingPlan } from './memory-plan.js';
import { createModelWeights } from './model-weights.js';
import { exportModelState, importModelState } from './model-state.js';
import type { ModelSource } from './protocol.js';
import { parityBounds, probeSequence, requireParity, servedLogProbs } from './parity-probe.js';
import { createPassRunner } from './pass-runner.js';
import { resolveDevice } from './resolve-device.js';
import { score } from './scorer.js';
import { createSequenceFeeds } from './sequence-feeds.js';
import { createTextStream } from './tokenizer-stream.js';
import { loadTokenizer } from './tokenizer.js';
import type { Tokenizer } from './tokenizer.js';
import { createTrainer } from './trainer.js';
import { validateGenerate, validateScore, validateTrainStep } from './validate.js';

/** A model and everything that computes with it, in one thread. The worker serves it; see `LanguageModel` for contracts. */
export interface Engine {
  info(): LanguageModelInfo;
  generate(
    items: readonly GenerateItem[],
    options: GenerateOptions,
    hooks: GenerateHooks,
  ): Promise<Completion[]>;
  score(items: readonly ScoreItem[], reference: boolean): Promise<Score[]>;
  trainStep(batch: readonly TrainSequence[], settings: OptimizerSettings): Promise<TrainStep>;
  exportState(): { weights: Uint8Array<ArrayBuffer>; optimizer: Uint8Array<ArrayBuffer> };
  importState(weights: Uint8Array, optimizer: Uint8Array | null): Promise<void>;
  checkParity(): Promise<number>;
  anchorTo(target: AnchorTarget): void;
  exportMerged(): Map<string, Tensor>;
  close(): Promise<void>;
}

/** Sequences computed together, unless the options say otherwise. */
const defaultMaxBatch = 32;
/**
 * Most tokens of a training pass on a CPU. Between the products a pass goes over its activations once an operator; those of many
 * more tokens leave the processor's cache each time, and those of many fewer make slow products (measured: test/bench).
 */
const cachedTokens = 1024;

/** Loads or initialises the weights and prepares to run; graphs are compiled on first use. */
export async function createEngine(
  source: ModelSource,
  options: EngineOptions,
  onProgress: (fraction: number) => void,
): Promise<Engine> {
  const { threads = 1, spinning = false, trainable = { kind: 'full' } } = options;
  const { maxBatch = defaultMaxBatch } = options;
  for (const [name, value] of Object.entries({
    threads,
    maxBatch,
    maxBatchTokens: options.maxBatchTokens,
    memoryBytes: options.memoryBytes,
  })) {
    if (value !== undefined && (!Number.isInteger(value) || value < 1)) {
      throw new LmError('ARGUMENT_INVALID', `${name} is ${value}; give a positive integer.`);
    }
  }
  const { quantization = 'none' } = options;
  const device = await resolveDevice(options.device ?? 'cpu');
  const quantized = quantization !== 'none';
  if (quantized && device !== 'cpu') {
    throw new LmError(
      'ARGUMENT_INVALID',
      `quantization is "${quantization}" on device "${device}"; 8-bit weights run on "cpu" only. Leave quantization out, or ask for the CPU.`,
    );
  }
  const config = source.kind === 'memory' ? source.config : readModelConfig(source.folder);
  const maxBatchTokens = options.maxBatchTokens ?? defaultPassTokens(config);
  // Products of integers are so fast that longer passes, whose values leave the processor's cache, are slower (bench:engine -- passes).
  const inferenceTokens = quantized ? Math.min(maxBatchTokens, pieceTokens) : maxBatchTokens;
  const plan = (sequenceTokens: number | null): TrainingPlan =>
    planTraining(
      {
        config,
        adapterParameters: adapterParameters(config, trainable),
        quantized,
        inferenceBytes: inferenceBytes(config, { quantized, maxBatch, maxBatchTokens: inferenceTokens }),
        memoryBytes: options.memoryBytes ?? memoryLimit(),
      },
      {
        maxTokens: device === 'cpu' ? Math.min(maxBatchTokens, cachedTokens) : maxBatchTokens,
        recompute: options.recompute ?? 'auto',
        sequenceTokens,
      },
    );
  // Who says what trains is going to train: refused now rather than at the first step.
  if (options.trainable) plan(null);
  const base = loadBase(source, config, quantization, onProgress);
  const runner = createPassRunner({ device, threads, spinning });
  const rounding = quantization === 'w8a8' ? await coarseActivations() : fineActivations;
  const weights = createModelWeights(config, base, trainable, () =>
    loadBase(source, config, quantization, () => undefined),
  );
  const sequences = createSequenceFeeds(config);
  const forward = createForward({ config, runner, sequences, weights, rounding });
  const inference = { config, forward, maxBatch, maxBatchTokens: inferenceTokens };
  const scheduler = createGenerationScheduler(inference);
  const trainer = createTrainer({ config, runner, sequences, forward, weights, plan });
  const shapes = parameterShapes(config);
  const trainableParameters = weights.trainable.reduce((sum, { data }) => sum + data.length, 0);
  let tokenizer: Tokenizer | undefined;

  const tokenizerForStops = (): Tokenizer => {
    if (source.kind !== 'folder') {
      throw new LmError(
        'ARGUMENT_INVALID',
        'stopStrings needs a tokenizer, which a model made in memory does not have; use stopTokens.',
      );
    }
    return (tokenizer ??= loadTokenizer(source.folder, config));
  };
  let driving: Promise<void> | undefined;
  /** Continues what was asked for until nothing is left. What else the engine is asked meanwhile takes turns with it, pass by pass. */
  const drive = (): Promise<void> =>
    (driving ??= (async () => {
      while (scheduler.busy) {
        await scheduler.step();
        // Lets messages in: an abort, or a call that joins the batch.
        await new Promise((resolve) => setImmediate(resolve));
      }
      driving = undefined;
    })());
  /** Sequences under way end with the weights they began with: on a copy of the adapters, or before all weights change. */
  const readyToChange = async (): Promise<void> => {
    if (!weights.keepsVersions) await driving;
  };
  return {
    info: () => ({
      architecture: config.architecture,
      parameters: parameterCount(config),
      trainableParameters,
      vocabularySize: config.vocabSize,
      contextTokens: config.maxPositions,
      device,
      threads,
      keepsVersions: weights.keepsVersions,
      step: trainer.state.step,
    }),
    async generate(items, generateOptions, hooks) {
      validateGenerate(config, items, generateOptions);
      const settings = generationSettings(config, generateOptions, tokenizerForStops);
      const completions = scheduler.submit(weights.current(), items, settings, hooks);
      void drive();
      return completions;
    },
    async score(items, reference) {
      validateScore(config, items);
      return score(inference, reference ? weights.reference() : weights.current(), items);
    },
    async trainStep(batch, settings) {
      validateTrainStep(config, batch, settings);
      await readyToChange();
      return trainer.step(batch, settings);
    },
    exportState: () => exportModelState(weights.trainable, trainer.state),
    async importState(weightBytes, optimizerBytes) {
      await readyToChange();
      importModelState(weights, trainer.state, weightBytes, optimizerBytes);
    },
    async checkParity() {
      const probe = probeSequence(config);
      const served = await servedLogProbs(config, forward, weights.current(), probe);
      const trained = (await trainer.losses([probe])).map((loss) => -loss);
      return requireParity(served, trained, parityBounds[quantization]);
    },
    anchorTo(target) {
      if (target === 'current') weights.anchorHere();
      else weights.anchorAtReference();
    },
    exportMerged: () =>
      new Map([...weights.merged()].map(([name, data]) => [name, { shape: shapes.get(name)!, data }])),
    close: () => runner.dispose(),
  };
}

/** Weights that train beside a frozen base; 0 when everything does. */
function adapterParameters(config: ModelConfig, trainable: Trainable): number {
  if (trainable.kind === 'full') return 0;
  return loraAdapters(config, trainable).reduce(
    (sum, { shapeA, shapeB }) => sum + shapeA[0] * shapeA[1] + shapeB[0] * shapeB[1],
    0,
  );
}

function loadBase(
  source: ModelSource,
  config: ModelConfig,
  quantization: Quantization,
  onProgress: (fraction: number) => void,
): BaseWeights {
  if (source.kind === 'memory') {
    const builder = createBaseWeightsBuilder(source.config, quantization);
    initWeights(source.config, source.seed, source.weights, (name, values) => builder.add(name, values));
    return builder.finish();
  }
  const builder = createBaseWeightsBuilder(config, quantization);
  readCheckpoint(source.folder, config, (name, values) => builder.add(name, values), {
    onProgress: ({ loadedBytes, totalBytes }) => onProgress(totalBytes === 0 ? 1 : loadedBytes / totalBytes),
  });
  return builder.finish();
}

function generationSettings(
  config: ModelConfig,
  options: GenerateOptions,
  tokenizer: () => Tokenizer,
): GenerationSettings {
  const { maxTokens, temperature, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1 } = options;
  const { topLogProbs = 0, stopTokens = config.eosTokenIds, stopStrings = [] } = options;
  const settings = {
    maxTokens,
    temperature,
    topK,
    topP,
    minP,
    repetitionPenalty,
    topLogProbs,
    stopTokens: new Set(stopTokens),
  };
  if (stopStrings.length === 0) return settings;
  const text = tokenizer();
  return { ...settings, watchText: () => createTextStream(text, stopStrings) };
}
