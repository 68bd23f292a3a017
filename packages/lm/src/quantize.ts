import { LmError } from './lm-error.js';

/** A matrix [outputs, inputs] in 8 bits, in the layout of onnxruntime's `MatMulNBits`. */
export interface QuantizedMatrix {
  /**
   * [outputs, blocks, block], blocks = ⌈inputs / block⌉: ŵ = (packed − 128) · scale. What lies beyond the last input is 128, which
   * stands for zero.
   */
  readonly packed: Uint8Array<ArrayBuffer>;
  /** [outputs, blocks], positive; zero where a whole block is zero. */
  readonly scales: Float32Array<ArrayBuffer>;
}

/** What stands for zero. */
export const int8ZeroPoint = 128;
/** Largest distance from it, on both sides: symmetric, so that −w is as exact as w. */
const maxLevel = 127;
/** The smallest normal float32: below it a scale would lose the digits that the error bound needs. */
const minScale = 2 ** -126;

/**
 * Rounds a matrix to 8 bits, a scale for every `block` consecutive inputs of an output (absmax, round to nearest, ties away
 * from zero): |w − ŵ| ≤ scale / 2 up to float32 rounding.
 * @param weights [outputs, inputs], finite
 * @param block values that share a scale; a power of two, at least 16 (`MatMulNBits`)
 * @throws LmError `ARGUMENT_INVALID` for a block or a size that does not fit.
 */
export function quantizeInt8(
  weights: Float32Array,
  outputs: number,
  inputs: number,
  block: number,
): QuantizedMatrix {
  if (weights.length !== outputs * inputs || !Number.isInteger(Math.log2(block)) || block < 16) {
    throw new LmError(
      'ARGUMENT_INVALID',
      `${weights.length} weights cannot be quantised as [${outputs}, ${inputs}] in blocks of ${block}; give outputs · inputs weights, ` +
        'and a power of two from 16 on.',
    );
  }
  const blocks = Math.ceil(inputs / block);
  const packed = new Uint8Array(outputs * blocks * block);
  const scales = new Float32Array(outputs * blocks);
  for (let b = 0; b < scales.length; b++) {
    const column = (b % blocks) * block;
    const from = Math.floor(b / blocks) * inputs + column;
    const count = Math.min(block, inputs - column);
    let largest = 0;
    for (let i = 0; i < count; i++) largest = Math.max(largest, Math.abs(weights[from + i]));
    scales[b] = largest === 0 ? 0 : Math.max(minScale, largest / maxLevel);
    const inverse = largest === 0 ? 0 : 1 / scales[b];
    const to = b * block;
    for (let i = 0; i < count; i++) packed[to + i] = level(weights[from + i] * inverse);
    packed.fill(int8ZeroPoint, to + count, to + block);
  }
  return { packed, scales };
}

/** The nearest of 1 … 255; the addition of a half rounds by truncation, because what is truncated is positive. */
function level(value: number): number {
  return value < 0
    ? Math.max(1, Math.ceil(value - 0.5) + int8ZeroPoint)
    : Math.min(255, Math.floor(value + 0.5) + int8ZeroPoint);
}

/**
 * Writes row `row` [inputs] of a quantised matrix into `out`, from `offset` on.
 * @param inputs and `block` as the matrix was quantised with
 */
export function dequantizeRow(
  { packed, scales }: QuantizedMatrix,
  row: number,
  inputs: number,
  block: number,
  out: Float32Array,
  offset = 0,
): void {
  const blocks = Math.ceil(inputs / block);
  const from = row * blocks * block;
  for (let i = 0; i < inputs; i++) {
    out[offset + i] = (packed[from + i] - int8ZeroPoint) * scales[row * blocks + Math.floor(i / block)];
  }
}
