import { createTensor } from '@parley/graph';
import type { Tensor } from '@parley/graph';
import { parameterNames } from './config-parameters.js';
import type { ModelConfig } from './config.js';
import type { TrainableParameter } from './model-weights.js';
import type { CausalSequence } from './scorer.js';
import { gradientName } from './training-graph.js';

/** The gradients of one optimiser step, summed over its micro-batches in buffers that are kept between steps. */
export interface GradientSums {
  /** By parameter name, in the order of the parameters. */
  readonly values: ReadonlyMap<string, Float32Array>;
  /** Begins a step. */
  start(): void;
  /** What to fetch from the next micro-batch, whose padded batch has `inputRows` rows. */
  fetches(inputRows: number): Record<string, Tensor | null>;
  /** Adds what was fetched. */
  add(
    batch: readonly CausalSequence[],
    paddedTokens: number,
    outputs: Readonly<Record<string, Tensor>>,
  ): void;
  /** Ends a step: without a micro-batch the sums are zero. */
  finish(): void;
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
  const fetched = trainable.filter(({ name }) => name !== embedding || config.tiedEmbeddings);
  // The first micro-batch writes straight into the sums.
  const direct = Object.fromEntries(
    fetched.map(({ name, shape }) => [gradientName(name), createTensor('float32', shape, values.get(name))]),
  );
  const further = Object.fromEntries(fetched.map(({ name }) => [gradientName(name), null]));
  let microBatches = 0;

  return {
    values,
    start() {
      microBatches = 0;
      if (!config.tiedEmbeddings) table?.fill(0);
    },
    fetches(inputRows) {
      const tensors: Record<string, Tensor | null> = { ...(microBatches === 0 ? direct : further) };
      if (table) tensors[gradientName('x')] = createTensor('float32', [inputRows, config.hiddenSize]);
      return tensors;
    },
    add(batch, paddedTokens, outputs) {
      if (microBatches++ > 0) {
        for (const { name } of fetched)
          addTo(values.get(name), outputs[gradientName(name)].data as Float32Array);
      }
      if (table)
        scatterRows(config, table, batch, paddedTokens, outputs[gradientName('x')].data as Float32Array);
    },
    finish() {
      if (microBatches === 0) for (const sum of values.values()) sum.fill(0);
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

function addTo(sum: Float32Array | undefined, term: Float32Array): void {
  if (sum) for (let i = 0; i < sum.length; i++) sum[i] += term[i];
}
