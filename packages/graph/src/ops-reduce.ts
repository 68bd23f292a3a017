import { isFloat } from './dtype.js';
import type { GraphCore } from './graph-core.js';
import { refuse } from './graph-core.js';
import type { Dim, Shape } from './shape.js';
import { normalizeAxis } from './shape.js';
import type { Value } from './value.js';

/** Options of the reductions. */
export interface ReduceOptions {
  /** Axes to reduce; all of them when left out. */
  readonly axes?: readonly number[];
  /** Keep reduced axes with size 1. Default `false`. */
  readonly keepDims?: boolean;
}

/** Reductions, scans and selections along an axis. */
export interface ReduceOps {
  readonly reduceSum: (x: Value, options?: ReduceOptions) => Value;
  readonly reduceMean: (x: Value, options?: ReduceOptions) => Value;
  readonly reduceMax: (x: Value, options?: ReduceOptions) => Value;
  /** Along one axis, the last by default. */
  readonly softmax: (x: Value, axis?: number) => Value;
  readonly logSoftmax: (x: Value, axis?: number) => Value;
  /** int64 index of the first largest element. */
  readonly argMax: (x: Value, axis: number, keepDims?: boolean) => Value;
  /** The `k` largest along an axis, in descending order. `k` is a number or an int64 `[1]` value (size then symbolic). */
  topK(
    x: Value,
    k: number | { readonly value: Value; readonly dim: string },
    axis?: number,
  ): { values: Value; indices: Value };
  cumSum(
    x: Value,
    axis: number,
    options?: { readonly exclusive?: boolean; readonly reverse?: boolean },
  ): Value;
}

/** Binds {@link ReduceOps} to a graph. */
export function createReduceOps(g: GraphCore): ReduceOps {
  function axisOf(op: string, x: Value, axis: number): number {
    const rank = x.shape.length;
    return normalizeAxis(axis, rank) ?? refuse(op, [x], `axis ${axis} is outside a tensor of rank ${rank}`);
  }
  function reduced(shape: Shape, axes: readonly number[], keepDims: boolean): Dim[] {
    if (keepDims) return shape.map((dim, i) => (axes.includes(i) ? 1 : dim));
    return shape.filter((_, i) => !axes.includes(i));
  }
  function reduction(op: string) {
    return (x: Value, { axes, keepDims = false }: ReduceOptions = {}) => {
      const all = axes ? axes.map((axis) => axisOf(op, x, axis)) : x.shape.map((_, i) => i);
      if (all.length === 0) return x;
      const spec = { shape: reduced(x.shape, all, keepDims), dtype: x.dtype };
      return g.node(op, [x, g.int64s(all)], [spec], { keepdims: { int: keepDims ? 1 : 0 } })[0];
    };
  }
  function normalization(op: string) {
    return (x: Value, axis = -1) => {
      if (!isFloat(x.dtype)) refuse(op, [x], `takes a float tensor, got ${x.dtype}`);
      const attributes = { axis: { int: axisOf(op, x, axis) } };
      return g.node(op, [x], [{ shape: x.shape, dtype: x.dtype }], attributes)[0];
    };
  }

  return {
    reduceSum: reduction('ReduceSum'),
    reduceMean: reduction('ReduceMean'),
    reduceMax: reduction('ReduceMax'),
    softmax: normalization('Softmax'),
    logSoftmax: normalization('LogSoftmax'),
    argMax(x, axis, keepDims = false) {
      const at = axisOf('ArgMax', x, axis);
      const attributes = { axis: { int: at }, keepdims: { int: keepDims ? 1 : 0 } };
      return g.node(
        'ArgMax',
        [x],
        [{ shape: reduced(x.shape, [at], keepDims), dtype: 'int64' }],
        attributes,
      )[0];
    },
    topK(x, k, axis = -1) {
      const at = axisOf('TopK', x, axis);
      const size = x.shape[at];
      if (typeof k === 'number' && typeof size === 'number' && k > size)
        refuse('TopK', [x], `k is ${k}, axis ${axis} has only ${size} elements`);
      const count = typeof k === 'number' ? g.int64s([k]) : k.value;
      const dim = typeof k === 'number' ? k : k.dim;
      const shape = x.shape.map((old, i) => (i === at ? dim : old));
      const specs = [
        { shape, dtype: x.dtype },
        { shape, dtype: 'int64' as const },
      ];
      const [values, indices] = g.node('TopK', [x, count], specs, { axis: { int: at } }) as [Value, Value];
      return { values, indices };
    },
    cumSum(x, axis, { exclusive = false, reverse = false } = {}) {
      const at = axisOf('CumSum', x, axis);
      const attributes = { exclusive: { int: exclusive ? 1 : 0 }, reverse: { int: reverse ? 1 : 0 } };
      const inputs = [x, g.scalar(at, 'int64')];
      return g.node('CumSum', inputs, [{ shape: x.shape, dtype: x.dtype }], attributes)[0];
    },
  };
}
