import type { Tensor } from '@parley/graph';
import { createTensor } from '@parley/graph';
import { parameterNames, parameterShapes } from './config-parameters.js';
import type { ModelConfig } from './config.js';
import type { Quantization } from './language-model.js';
import type { WeightFeeds } from './pass-runner.js';
import { dequantizeOutput, quantizeInt8 } from './quantize.js';
import type { QuantizedMatrix } from './quantize.js';

/** Name of the scales of an 8-bit matrix, beside its own. */
export function scaleName(name: string): string {
  return `${name}.scale`;
}

/** The one copy of the weights that a model was loaded with. */
export interface BaseWeights {
  /** Parameters in float32, by name. */
  readonly floats: ReadonlyMap<string, Float32Array>;
  /** Matrices in 8 bits, by name: [outputs, inputs] as Hugging Face names them. Empty without quantisation. */
  readonly quantized: ReadonlyMap<string, QuantizedMatrix>;
  /** All of them as feeds: float32 by name; 8-bit values by name with {@link scaleName} beside them. */
  readonly feeds: WeightFeeds;
}

/** Takes parameters in one by one, so that no more than one of them is there in float32 while 8 bits are made of it. */
export interface BaseWeightsBuilder {
  add(name: string, values: Float32Array): void;
  finish(): BaseWeights;
}

/** @param quantization anything but `none` rounds the matrices to 8 bits; norms and biases stay as they are */
export function createBaseWeightsBuilder(
  config: ModelConfig,
  quantization: Quantization,
): BaseWeightsBuilder {
  const shapes = parameterShapes(config);
  const floats = new Map<string, Float32Array>();
  const quantized = new Map<string, QuantizedMatrix>();
  const feeds: Record<string, Tensor> = {};
  return {
    add(name, values) {
      const shape = shapes.get(name)!;
      if (quantization === 'none' || shape.length < 2) {
        floats.set(name, values);
        feeds[name] = createTensor('float32', shape, values);
        return;
      }
      const [outputs, inputs] = shape;
      const matrix = quantizeInt8(values, outputs, inputs);
      quantized.set(name, matrix);
      feeds[name] = createTensor('int8', [inputs, outputs], matrix.values);
      feeds[scaleName(name)] = createTensor('float32', [outputs], matrix.scales);
    },
    finish: () => ({ floats, quantized, feeds }),
  };
}

/** The values of a parameter in float32; of an 8-bit matrix, what its values stand for. */
export function floatsOf(base: BaseWeights, name: string): Float32Array {
  const floats = base.floats.get(name);
  if (floats) return floats;
  const matrix = base.quantized.get(name);
  if (!matrix) throw new Error(`The model has no parameter ${name}.`);
  const outputs = matrix.scales.length;
  const inputs = matrix.values.length / outputs;
  const values = new Float32Array(matrix.values.length);
  for (let output = 0; output < outputs; output++) dequantizeOutput(matrix, output, values, output * inputs);
  return values;
}

/** Looks up what a token is embedded as. */
export interface EmbeddingTable {
  /** Writes the embeddings of `tokens` into `out`, one after another from row `row` on. */
  lookUp(tokens: readonly number[], out: Float32Array, row?: number): void;
}

/** The embedding table of weights that are fed as `feeds`, or that are `quantized`. */
export function embeddingTable(
  config: ModelConfig,
  feeds: WeightFeeds,
  quantized: ReadonlyMap<string, QuantizedMatrix>,
): EmbeddingTable {
  const name = parameterNames(config).embedding;
  const width = config.hiddenSize;
  const matrix = quantized.get(name);
  if (matrix) {
    return {
      lookUp: (tokens, out, row = 0) =>
        tokens.forEach((token, i) => dequantizeOutput(matrix, token, out, (row + i) * width)),
    };
  }
  const table = feeds[name].data as Float32Array;
  return {
    lookUp(tokens, out, row = 0) {
      tokens.forEach((token, i) =>
        out.set(table.subarray(token * width, (token + 1) * width), (row + i) * width),
      );
    },
  };
}
