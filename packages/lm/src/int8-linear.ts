import { productOf } from '@parley/graph';
import type { Graph, Value } from '@parley/graph';

/** Rows rounded to integers for products with 8-bit weights: two planes of 7 bits and a scale a row. */
export interface QuantizedRows {
  /** uint8 [2 · rows, inputs]: first the coarse plane, then the fine one, both around {@link zeroPoint}. */
  readonly planes: Value;
  /** [rows]: x ≈ scale · (coarse + fine / {@link fineSteps}). */
  readonly scale: Value;
}

/** Levels of a plane on each side of zero. Seven bits: with eight, processors without VNNI would saturate. */
const levels = 63;
/** The level that stands for zero. */
const zeroPoint = 64;
/** Steps of the fine plane in one of the coarse plane. */
const fineSteps = 2 * levels;
/** Below every row that is not all zeros; keeps the division finite. */
const smallest = 1e-30;

/**
 * Rounds each row of `x [rows, inputs]` by its own largest magnitude, m: |x − x̂| ≤ m / 15 876, so that the activations add
 * next to nothing to the error of 8-bit weights, outliers or not. A row's result depends on no other row.
 */
export function quantizeRows(g: Graph, x: Value): QuantizedRows {
  const [rows, inputs] = x.shape;
  const largest = g.reduceMax(g.abs(x), { axes: [1] });
  const scale = g.mul(g.max(largest, g.scalar(smallest)), g.scalar(1 / levels));
  const zero = g.constantOfShape([rows], zeroPoint, 'uint8');
  const perRow = { axis: { int: 0 } };
  const round = (from: Value, step: Value): Value =>
    g.node('QuantizeLinear', [from, step, zero], [{ shape: x.shape, dtype: 'uint8' }], perRow)[0];
  const coarse = round(x, scale);
  const [approximate] = g.node('DequantizeLinear', [coarse, scale, zero], [x], perRow);
  const fine = round(g.sub(x, approximate), g.mul(scale, g.scalar(1 / fineSteps)));
  const stacked = { shape: [productOf([2, rows]), inputs], dtype: coarse.dtype };
  return { planes: g.node('Concat', [coarse, fine], [stacked], perRow)[0], scale };
}

/**
 * `x ŵᵀ [rows, outputs]` by integer products, exact but for the rounding of `x` and one of float32 at the end.
 * @param values int8 [inputs, outputs]
 * @param scales [outputs], ŵ = values · scales
 */
export function int8Linear(g: Graph, { planes, scale }: QuantizedRows, values: Value, scales: Value): Value {
  const products = g.int8Product(planes, values, scales, { zeroPoint });
  const [rows] = scale.shape;
  const half = { shape: [rows, values.shape[1]], dtype: products.dtype };
  const attributes = { axis: { int: 0 }, num_outputs: { int: 2 } };
  const [coarse, fine] = g.node('Split', [products], [half, half], attributes);
  return g.mul(g.add(coarse, g.mul(fine, g.scalar(1 / fineSteps))), g.reshape(scale, [rows, 1]));
}
