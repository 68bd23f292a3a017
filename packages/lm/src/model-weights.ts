import { createTensor } from '@parley/graph';
import type { Tensor } from '@parley/graph';
import { embeddingTable, floatsOf } from './base-weights.js';
import type { BaseWeights, EmbeddingTable } from './base-weights.js';
import { parameterShapes } from './config-parameters.js';
import type { ModelConfig } from './config.js';
import type { Trainable } from './language-model.js';
import { initLora, loraAdapters } from './lora.js';
import type { LoraAdapter } from './lora.js';
import { LmError } from './lm-error.js';
import { weightFeeds } from './pass-runner.js';
import type { WeightFeeds } from './pass-runner.js';

/** A parameter that training changes in place. */
export interface TrainableParameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** The weights of one version, for generation and scoring. */
export interface ServedWeights {
  /** Parameters by Hugging Face name and adapters by PEFT's. */
  readonly feeds: WeightFeeds;
  readonly embedding: EmbeddingTable;
}

/** All weights of a model: one copy of the base for generation, scoring and training, and the adapters beside it. */
export interface ModelWeights {
  readonly base: BaseWeights;
  /** Empty when everything trains. */
  readonly adapters: readonly LoraAdapter[];
  /** In the order of the forward pass. */
  readonly trainable: readonly TrainableParameter[];
  /** Whether what {@link current} gave stays as it is when training goes on. */
  readonly keepsVersions: boolean;
  /** What generation and scoring run with. */
  current(): ServedWeights;
  /** What training runs with. */
  training(): ServedWeights;
  /** The weights the model was loaded with. */
  reference(): ServedWeights;
  /** What the KL anchor of training pulls towards: the reference, until {@link anchorHere}. */
  anchor(): ServedWeights;
  /** From now on the anchor pulls towards a copy of the weights as they are at this moment. */
  anchorHere(): void;
  /** From now on the anchor pulls towards the reference again. */
  anchorAtReference(): void;
  /** Must be called before trainable parameters are written for the first time after any of the above was used. */
  beforeChange(): void;
  /** Every parameter's current values in float32, adapters merged; copies. */
  merged(): Map<string, Float32Array>;
}

/**
 * @param base trained in place when everything trains
 * @param reload reads the base again, for a reference that is asked for only after training began
 * @throws LmError `ARGUMENT_INVALID` for a LoRA setting that does not fit, or for training of 8-bit weights themselves.
 */
export function createModelWeights(
  config: ModelConfig,
  base: BaseWeights,
  trainable: Trainable,
  reload: () => BaseWeights,
): ModelWeights {
  if (trainable.kind === 'lora') return loraWeights(config, base, trainable);
  if (base.quantized.size > 0) {
    throw new LmError(
      'ARGUMENT_INVALID',
      'The base is in 8 bits, and all weights are to be trained; 8-bit weights are frozen: train with LoRA, or set quantization to "none".',
    );
  }
  return fullWeights(config, base, reload);
}

function fullWeights(config: ModelConfig, base: BaseWeights, reload: () => BaseWeights): ModelWeights {
  const shapes = parameterShapes(config);
  const served = (feeds: WeightFeeds): ServedWeights => ({
    feeds,
    embedding: embeddingTable(config, feeds, new Map()),
  });
  const copyOf = (source: BaseWeights): ServedWeights =>
    served(weightFeeds(new Map([...source.floats].map(([name, data]) => [name, data.slice()])), shapes));
  const current = served(base.feeds);
  let changed = false;
  let reference: ServedWeights | undefined;
  let anchor: ServedWeights | undefined;
  const getReference = (): ServedWeights => (reference ??= changed ? served(reload().feeds) : copyOf(base));
  return {
    base,
    adapters: [],
    trainable: [...base.floats].map(([name, data]) => ({ name, shape: shapes.get(name)!, data })),
    keepsVersions: false,
    current: () => current,
    training: () => current,
    reference: getReference,
    anchor: () => anchor ?? getReference(),
    anchorHere() {
      anchor = copyOf(base);
    },
    anchorAtReference() {
      anchor = undefined;
    },
    beforeChange() {
      changed = true;
    },
    merged: () => new Map([...base.floats].map(([name, data]) => [name, data.slice()])),
  };
}

function loraWeights(
  config: ModelConfig,
  base: BaseWeights,
  settings: Trainable & { kind: 'lora' },
): ModelWeights {
  const adapters = loraAdapters(config, settings);
  const weights = initLora(adapters, settings.seed);
  const shapes = new Map<string, readonly number[]>();
  for (const { nameA, shapeA, nameB, shapeB } of adapters) shapes.set(nameA, shapeA).set(nameB, shapeB);
  const embedding = embeddingTable(config, base.feeds, base.quantized);
  const beside = (values: ReadonlyMap<string, Float32Array>): ServedWeights => ({
    feeds: { ...base.feeds, ...weightFeeds(values, shapes) },
    embedding,
  });
  const training = beside(weights);
  let current: ServedWeights | undefined;
  let reference: ServedWeights | undefined;
  let anchor: ServedWeights | undefined;
  const getCurrent = (): ServedWeights =>
    (current ??= beside(new Map([...weights].map(([name, data]) => [name, data.slice()]))));
  const getReference = (): ServedWeights =>
    (reference ??= { feeds: { ...base.feeds, ...noUpdate() }, embedding });
  /** Adapters that change nothing; all of one shape are one array of zeros. */
  const noUpdate = (): WeightFeeds => {
    const zeros = new Map<string, Tensor>();
    return Object.fromEntries(
      [...shapes].map(([name, shape]) => {
        const key = shape.join();
        const tensor = zeros.get(key) ?? createTensor('float32', shape);
        zeros.set(key, tensor);
        return [name, tensor];
      }),
    );
  };
  return {
    base,
    adapters,
    trainable: [...weights].map(([name, data]) => ({ name, shape: shapes.get(name)!, data })),
    keepsVersions: true,
    current: getCurrent,
    training: () => training,
    reference: getReference,
    anchor: () => anchor ?? getReference(),
    anchorHere() {
      anchor = getCurrent();
    },
    anchorAtReference() {
      anchor = undefined;
    },
    beforeChange() {
      current = undefined;
    },
    merged() {
      const byWeight = new Map(adapters.map((adapter) => [adapter.weight, adapter]));
      return new Map(
        [...parameterShapes(config).keys()].map((name) => {
          const values = base.quantized.has(name) ? floatsOf(base, name) : floatsOf(base, name).slice();
          const adapter = byWeight.get(name);
          if (adapter) addUpdate(values, adapter, weights.get(adapter.nameA)!, weights.get(adapter.nameB)!);
          return [name, values];
        }),
      );
    },
  };
}

/** `values` [outputs, inputs] += scale · B · A. */
function addUpdate(
  values: Float32Array,
  { shapeA, shapeB, scale }: LoraAdapter,
  a: Float32Array,
  b: Float32Array,
): void {
  const [rank, inputs] = shapeA;
  const [outputs] = shapeB;
  for (let o = 0; o < outputs; o++) {
    const row = values.subarray(o * inputs, (o + 1) * inputs);
    for (let r = 0; r < rank; r++) {
      const factor = scale * b[o * rank + r];
      if (factor === 0) continue;
      const from = a.subarray(r * inputs, (r + 1) * inputs);
      for (let i = 0; i < inputs; i++) row[i] += factor * from[i];
    }
  }
}
