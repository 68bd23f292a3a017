import { createTensor } from '@parley/graph';
import type { Tensor } from '@parley/graph';
import { parameterShapes } from './config-parameters.js';
import type { ModelConfig } from './config.js';
import type { Trainable } from './language-model.js';
import { buildLoraMerge, initLora, loraAdapters } from './lora.js';
import type { LoraAdapter } from './lora.js';
import { weightFeeds } from './pass-runner.js';
import type { PassRunner, WeightFeeds } from './pass-runner.js';

/** A parameter that training changes in place. */
export interface TrainableParameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** All weights of a model: one copy of the base, the adapters, and what is derived from them on demand. */
export interface ModelWeights {
  readonly adapters: readonly LoraAdapter[];
  /** In the order of the forward pass. */
  readonly trainable: readonly TrainableParameter[];
  /** What generation and scoring run with: adapters merged in. */
  current(): Promise<WeightFeeds>;
  /** What training runs with: base and adapters apart. */
  training(): WeightFeeds;
  /** The weights the model was loaded with. */
  reference(): WeightFeeds;
  /** What the KL anchor of training pulls towards: the reference, until {@link anchorHere}. */
  anchor(): WeightFeeds;
  /** From now on the anchor pulls towards a copy of the weights as they are at this moment. */
  anchorHere(): Promise<void>;
  /** From now on the anchor pulls towards the reference again. */
  anchorAtReference(): void;
  /** Must be called before trainable parameters are written for the first time after any of the above was used. */
  beforeChange(): void;
}

/**
 * @param base the model's weights by Hugging Face name; trained in place when everything trains
 * @param runner merges adapters
 * @param reload reads the base again, for a reference that is asked for only after training began
 */
export function createModelWeights(
  config: ModelConfig,
  base: Map<string, Float32Array>,
  trainable: Trainable,
  runner: PassRunner,
  reload: () => Map<string, Float32Array>,
): ModelWeights {
  const shapes = parameterShapes(config);
  const weights =
    trainable.kind === 'lora'
      ? loraWeights(config, base, shapes, trainable, runner)
      : fullWeights(base, shapes, reload);
  return withAnchor(weights, changingNames(config, trainable), shapes);
}

/** Parameters whose current values differ from the reference's once training began. */
function changingNames(config: ModelConfig, trainable: Trainable): string[] {
  if (trainable.kind === 'full') return [...parameterShapes(config).keys()];
  return loraAdapters(config, trainable).map(({ weight }) => weight);
}

type Unanchored = Omit<ModelWeights, 'anchor' | 'anchorHere' | 'anchorAtReference'>;

function withAnchor(
  weights: Unanchored,
  changing: readonly string[],
  shapes: Map<string, readonly number[]>,
): ModelWeights {
  let here: WeightFeeds | undefined;
  return {
    ...weights,
    anchor: () => here ?? weights.reference(),
    async anchorHere() {
      const feeds = await weights.current();
      const copies = new Map(changing.map((name) => [name, (feeds[name].data as Float32Array).slice()]));
      here = { ...feeds, ...weightFeeds(copies, shapes) };
    },
    anchorAtReference() {
      here = undefined;
    },
  };
}

function fullWeights(
  base: Map<string, Float32Array>,
  shapes: Map<string, readonly number[]>,
  reload: () => Map<string, Float32Array>,
): Unanchored {
  const feeds = weightFeeds(base, shapes);
  let changed = false;
  let reference: WeightFeeds | undefined;
  return {
    adapters: [],
    trainable: [...base].map(([name, data]) => ({ name, shape: shapes.get(name)!, data })),
    current: () => Promise.resolve(feeds),
    training: () => feeds,
    reference() {
      if (!reference) {
        const copy = changed ? reload() : new Map([...base].map(([name, data]) => [name, data.slice()]));
        reference = weightFeeds(copy, shapes);
      }
      return reference;
    },
    beforeChange() {
      changed = true;
    },
  };
}

function loraWeights(
  config: ModelConfig,
  base: Map<string, Float32Array>,
  shapes: Map<string, readonly number[]>,
  settings: Trainable & { kind: 'lora' },
  runner: PassRunner,
): Unanchored {
  const adapters = loraAdapters(config, settings);
  const weights = initLora(adapters, settings.seed);
  const adapterShapes = new Map<string, readonly number[]>();
  for (const { nameA, shapeA, nameB, shapeB } of adapters)
    adapterShapes.set(nameA, shapeA).set(nameB, shapeB);
  const baseFeeds = weightFeeds(base, shapes);
  const training: WeightFeeds = { ...baseFeeds, ...weightFeeds(weights, adapterShapes) };
  const merged: Record<string, Tensor> = {};
  let current: WeightFeeds | undefined;
  const merge = async (): Promise<WeightFeeds> => {
    for (const { weight, nameA, nameB, scale } of adapters) {
      const pass = await runner.pass('lora-merge', () => buildLoraMerge(scale));
      merged[weight] ??= createTensor('float32', shapes.get(weight) ?? []);
      const feeds = { weight: baseFeeds[weight], a: training[nameA], b: training[nameB] };
      await pass.run({}, feeds, { merged: merged[weight] });
    }
    return { ...baseFeeds, ...merged };
  };
  return {
    adapters,
    trainable: [...weights].map(([name, data]) => ({ name, shape: adapterShapes.get(name)!, data })),
    async current() {
      current ??= await merge();
      return current;
    },
    training: () => training,
    reference: () => baseFeeds,
    beforeChange() {
      current = undefined;
    },
  };
}
