import { LmError } from './lm-error.js';

/** A matrix [outputs, inputs] in 8 bits, one scale an output, transposed for onnxruntime's integer products. */
export interface QuantizedMatrix {
  /** [inputs, outputs], each in −127 … 127: ŵ[o][i] = values[i · outputs + o] · scales[o]. */
  readonly values: Int8Array<ArrayBuffer>;
  /** [outputs], positive; zero where all weights of an output are zero. */
  readonly scales: Float32Array<ArrayBuffer>;
}

/** Largest level, on both sides of zero: symmetric, so that −w is as exact as w. */
const maxLevel = 127;
/** The smallest normal float32: below it a scale would lose the digits that the error bound needs. */
const minScale = 2 ** -126;
/** Rows and columns transposed together, so that both sides stay in the processor's cache. */
const tile = 64;

/**
 * Rounds a matrix to 8 bits, a scale for each output (absmax, round to nearest, halves up): |w − ŵ| ≤ scale / 2 up to float32
 * rounding.
 * @param weights [outputs, inputs], finite
 * @throws LmError `ARGUMENT_INVALID` for a size that does not fit.
 */
export function quantizeInt8(weights: Float32Array, outputs: number, inputs: number): QuantizedMatrix {
  if (weights.length !== outputs * inputs) {
    throw new LmError(
      'ARGUMENT_INVALID',
      `${weights.length} weights cannot be quantised as [${outputs}, ${inputs}]; give ${outputs * inputs}.`,
    );
  }
  const scales = new Float32Array(outputs);
  const inverses = new Float64Array(outputs);
  for (let o = 0; o < outputs; o++) {
    let largest = 0;
    for (let i = o * inputs; i < (o + 1) * inputs; i++) {
      const magnitude = Math.abs(weights[i]);
      if (magnitude > largest) largest = magnitude;
    }
    if (largest === 0) continue;
    scales[o] = Math.max(minScale, largest / maxLevel);
    inverses[o] = 1 / scales[o];
  }
  const values = new Int8Array(outputs * inputs);
  for (let firstOutput = 0; firstOutput < outputs; firstOutput += tile) {
    const lastOutput = Math.min(outputs, firstOutput + tile);
    for (let firstInput = 0; firstInput < inputs; firstInput += tile) {
      const lastInput = Math.min(inputs, firstInput + tile);
      for (let o = firstOutput; o < lastOutput; o++) {
        const inverse = inverses[o];
        for (let i = firstInput; i < lastInput; i++) {
          values[i * outputs + o] = Math.max(
            -maxLevel,
            Math.min(maxLevel, Math.floor(weights[o * inputs + i] * inverse + 0.5)),
          );
        }
      }
    }
  }
  return { values, scales };
}

/** Writes what the weights [inputs] of one output stand for into `out`, from `offset` on. */
export function dequantizeOutput(
  { values, scales }: QuantizedMatrix,
  output: number,
  out: Float32Array,
  offset = 0,
): void {
  const outputs = scales.length;
  const scale = scales[output];
  const inputs = values.length / outputs;
  for (let i = 0; i < inputs; i++) out[offset + i] = values[i * outputs + output] * scale;
}
