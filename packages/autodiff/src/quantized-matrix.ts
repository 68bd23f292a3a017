import type { Graph, Value } from '@parley/graph';
import { after } from './after.js';

/** A frozen matrix `[outFeatures, inFeatures]` in 8 bits, transposed: w = values * scales. */
export interface QuantizedMatrix {
  /** int8 `[inFeatures, outFeatures]`. */
  readonly values: Value;
  /** `[outFeatures]`. */
  readonly scales: Value;
}

/** Whether a weight is held in 8 bits. */
export function isQuantized(weight: object): weight is QuantizedMatrix {
  return 'values' in weight;
}

/**
 * `x w^T`. The matrix exists in float32 for this product alone: it is made when `x` is there and, because each use of it waits for
 * another value, onnxruntime never takes two uses for one and keeps it in between. The scales are applied to the narrow side.
 */
export function timesQuantized(g: Graph, x: Value, { values, scales }: QuantizedMatrix): Value {
  return g.mul(g.gemm(x, floats(g, values, x)), scales);
}

/** `d w + addend`: what {@link timesQuantized} passes back. */
export function quantizedGradient(
  g: Graph,
  d: Value,
  { values, scales }: QuantizedMatrix,
  addend: Value | undefined,
): Value {
  return g.gemm(g.mul(d, scales), floats(g, values, d), { transB: true, ...(addend ? { c: addend } : {}) });
}

function floats(g: Graph, values: Value, reader: Value): Value {
  return g.cast(after(g, values, [reader]), 'float32');
}

/**
 * Outputs of a matrix that is too large to exist in float32 at once, each part of at most `maxElements`, to be had when `reader` is
 * there.
 */
export function quantizedParts(
  g: Graph,
  { values, scales }: QuantizedMatrix,
  reader: Value,
  maxElements: number,
): { readonly start: number; readonly end: number; readonly part: QuantizedMatrix }[] {
  const [inputs, outputs] = values.shape as [number, number];
  const late = after(g, values, [reader]);
  const count = Math.ceil((inputs * outputs) / maxElements);
  return Array.from({ length: count }, (_, i) => {
    const [start, end] = [Math.floor((i * outputs) / count), Math.floor(((i + 1) * outputs) / count)];
    return {
      start,
      end,
      part: { values: g.slice(late, 1, start, end), scales: g.slice(scales, 0, start, end) },
    };
  });
}
