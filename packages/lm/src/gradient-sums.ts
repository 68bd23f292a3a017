import { createTensor } from '@parley/graph';
import type { Tensor } from '@parley/graph';
import { parameterNames } from './config-parameters.js';
import type { ModelConfig } from './config.js';
import type { TrainableParameter } from './model-weights.js';
import type { CausalSequence } from './scorer.js';
import { gradientName, sumName } from './training-graph.js';

/** The gradients of one optimiser step, summed over its micro-batches in buffers that are kept between steps. */
export interface GradientSums {
  /** By parameter name, in the order of the parameters. */
  readonly values: ReadonlyMap<string, Float32Array>;
  /** Begins a step: all sums are zero. */
  start(): void;
  /** The sums as a training graph is fed them. */
  readonly feeds: Readonly<Record<string, Tensor>>;
  /** What to fetch from a micro-batch whose padded batch has `inputRows` rows: the new sums, in the memory of the old. */
  fetches(inputRows: number): Record<string, Tensor>;
  /** Adds what the graph leaves outside: the gradients of the embeddings it was fed. */
  addEmbeddings(
    batch: readonly CausalSequence[],
    paddedTokens: number,
    outputs: Readonly<Record<string, Tensor>>,
  ): void;
}

/** Allocates the sums. */
export function createGradientSums(
  config: ModelConfig,
  trainable: readonly TrainableParameter[],
): GradientSums {
  const embedding = parameterNames(config).embedding;
  const values = new Map(trainable.map(({ name, data }) => [name, new Float32Array(data.length)]));
  const table = values.get(embedding);
  // An untied embedding has no gradient of its own in the graph: only its looked-up rows have.
  const tensors = trainable
    .filter(({ name }) => name !== embedding || config.tiedEmbeddings)
    .map(({ name, shape }) => ({ name, tensor: createTensor('float32', shape, values.get(name)) }));
  const named = (nameOf: (name: string) => string): Record<string, Tensor> =>
    Object.fromEntries(tensors.map(({ name, tensor }) => [nameOf(name), tensor]));
  const sums = named(gradientName);

  return {
    values,
    feeds: named(sumName),
    start() {
      for (const sum of values.values()) sum.fill(0);
    },
    fetches(inputRows) {
      if (!table) return sums;
      return { ...sums, [gradientName('x')]: createTensor('float32', [inputRows, config.hiddenSize]) };
    },
    addEmbeddings(batch, paddedTokens, outputs) {
      if (!table) return;
      scatterRows(config, table, batch, paddedTokens, outputs[gradientName('x')].data as Float32Array);
    },
  };
}

/**
 * Adds each input row's gradient to the row of the table it was looked up from: sequential, hence without races. As in
 * transformers (`padding_idx`), looking the padding token up does not train it.
 */
function scatterRows(
  config: ModelConfig,
  table: Float32Array,
  batch: readonly CausalSequence[],
  paddedTokens: number,
  gradient: Float32Array,
): void {
  const width = config.hiddenSize;
  batch.forEach(({ input }, row) => {
    input.forEach((token, position) => {
      if (token === config.padTokenId) return;
      const from = (row * paddedTokens + position) * width;
      const to = token * width;
      for (let i = 0; i < width; i++) table[to + i] += gradient[from + i];
    });
  });
}
