import { createGraph, createSession, createTensor, productOf } from '@parley/graph';
import type { Graph, Value } from '@parley/graph';

/** How activations are rounded to integers, row by row, for products with 8-bit weights. */
export interface ActivationRounding {
  /** Integers an activation is made of: a coarse one, and with 2 a fine one of what that leaves. */
  readonly planes: 1 | 2;
  /** Largest magnitude of a plane's integers. */
  readonly levels: number;
}

/** Thirteen bits: an activation is off by at most 1/15 876 of its row's largest magnitude, outliers or not. */
export const fineActivations: ActivationRounding = { planes: 2, levels: 63 };

/** Rows rounded to integers: planes beneath one another, and a scale a row. */
export interface QuantizedRows {
  /** uint8 [planes · rows, inputs], around {@link zeroLevel}. */
  readonly planes: Value;
  /** [rows]: x ≈ scale · (coarse + fine / {@link fineSteps}). */
  readonly scale: Value;
  readonly rounding: ActivationRounding;
}

/** Below every row that is not all zeros; keeps the division finite. */
const smallest = 1e-30;

/** The integer that stands for zero. */
function zeroLevel({ levels }: ActivationRounding): number {
  return levels + 1;
}

/** Steps of the fine plane in one of the coarse plane. */
function fineSteps({ levels }: ActivationRounding): number {
  return 2 * levels;
}

/**
 * Rounds each row of `x [rows, inputs]` by its own largest magnitude, m: |x − x̂| ≤ m / (2 · levels), with two planes by 1 / (2 · levels)
 * of that. A row's result depends on no other row.
 */
export function quantizeRows(g: Graph, x: Value, rounding: ActivationRounding): QuantizedRows {
  const [rows, inputs] = x.shape;
  const largest = g.reduceMax(g.abs(x), { axes: [1] });
  const scale = g.mul(g.max(largest, g.scalar(smallest)), g.scalar(1 / rounding.levels));
  const zero = g.constantOfShape([rows], zeroLevel(rounding), 'uint8');
  const perRow = { axis: { int: 0 } };
  const round = (from: Value, step: Value): Value =>
    g.node('QuantizeLinear', [from, step, zero], [{ shape: x.shape, dtype: 'uint8' }], perRow)[0];
  const coarse = round(x, scale);
  if (rounding.planes === 1) return { planes: coarse, scale, rounding };
  const [approximate] = g.node('DequantizeLinear', [coarse, scale, zero], [x], perRow);
  const fine = round(g.sub(x, approximate), g.mul(scale, g.scalar(1 / fineSteps(rounding))));
  const stacked = { shape: [productOf([2, rows]), inputs], dtype: coarse.dtype };
  return { planes: g.node('Concat', [coarse, fine], [stacked], perRow)[0], scale, rounding };
}

/**
 * `x ŵᵀ [rows, outputs]` by integer products, exact but for the rounding of `x` and one of float32 at the end.
 * @param values int8 [inputs, outputs]
 * @param scales [outputs], ŵ = values · scales
 */
export function int8Linear(g: Graph, x: QuantizedRows, values: Value, scales: Value): Value {
  const products = g.int8Product(x.planes, values, scales, { zeroPoint: zeroLevel(x.rounding) });
  const [rows] = x.scale.shape;
  const perRow = g.reshape(x.scale, [rows, 1]);
  if (x.rounding.planes === 1) return g.mul(products, perRow);
  const half = { shape: [rows, values.shape[1]], dtype: products.dtype };
  const attributes = { axis: { int: 0 }, num_outputs: { int: 2 } };
  const [coarse, fine] = g.node('Split', [products], [half, half], attributes);
  return g.mul(g.add(coarse, g.mul(fine, g.scalar(1 / fineSteps(x.rounding)))), perRow);
}

/**
 * Eight bits, in one plane. Where the processor's kernel adds pairs of products in 16 bits (x86 without VNNI), which eight bits would
 * overflow unseen, seven: what it does is measured.
 */
export async function coarseActivations(): Promise<ActivationRounding> {
  const eightBits: ActivationRounding = { planes: 1, levels: 127 };
  return (await addsExactly(eightBits)) ? eightBits : { planes: 1, levels: 63 };
}

/** Whether products of the largest integers come out exactly, for one row and for several. */
async function addsExactly(rounding: ActivationRounding): Promise<boolean> {
  const [inputs, outputs, largest] = [64, 64, 127];
  const zeroPoint = zeroLevel(rounding);
  const g = createGraph('adds-exactly');
  const a = g.input('a', ['rows', inputs]);
  const values = g.initializer('b', [inputs, outputs], new Int8Array(inputs * outputs).fill(largest), 'int8');
  const scales = g.initializer('scales', [outputs], new Float32Array(outputs).fill(1));
  g.output(g.int8Product(g.cast(a, 'uint8'), values, scales, { zeroPoint }), 'sums');
  await using session = await createSession(g, { threads: 1, spinning: false });
  for (const rows of [1, 4]) {
    const filled = new Float32Array(rows * inputs).fill(zeroPoint + rounding.levels);
    const { sums } = await session.run({ a: createTensor('float32', [rows, inputs], filled) });
    if (!(sums.data as Float32Array).every((sum) => sum === inputs * rounding.levels * largest)) return false;
  }
  return true;
}
