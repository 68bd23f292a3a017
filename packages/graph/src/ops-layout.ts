import type { DType } from './dtype.js';
import { toTensorData } from './dtype.js';
import type { GraphCore } from './graph-core.js';
import { refuse } from './graph-core.js';
import type { Dim, Shape } from './shape.js';
import { broadcastShapes, formatShape, normalizeAxis, productOf, quotientOf, sameShape } from './shape.js';
import type { Value } from './value.js';

/** Operators that move or repeat elements without computing. */
export interface LayoutOps {
  /**
   * One dimension may be `-1` (inferred) and `0` copies the input's dimension at that place. Symbols are allowed wherever
   * an input of the graph carries them.
   */
  readonly reshape: (x: Value, shape: readonly Dim[]) => Value;
  /** `permutation[i]` is the input axis that becomes axis `i`. */
  readonly transpose: (x: Value, permutation: readonly number[]) => Value;
  /** `start` inclusive to `end` exclusive along one axis; negative values count from the end. */
  readonly slice: (x: Value, axis: number, start: number, end: number) => Value;
  readonly concat: (values: readonly Value[], axis: number) => Value;
  /** Cuts an axis into pieces of the given sizes, which must add up. */
  readonly split: (x: Value, axis: number, sizes: readonly number[]) => Value[];
  /** Inserts an axis of size 1 before `axis`. */
  readonly unsqueeze: (x: Value, axis: number) => Value;
  /** Removes an axis of size 1. */
  readonly squeeze: (x: Value, axis: number) => Value;
  /** Repeats along axes of size 1 (and new leading ones) up to `shape`. */
  readonly expand: (x: Value, shape: Shape) => Value;
  /** The run-time shape as an int64 vector, or its part from axis `start` to `end`. */
  readonly shape: (x: Value, start?: number, end?: number) => Value;
  /** `start, start + step, ...` below `limit`, all scalars of one type; `length` names the result's only dimension. */
  readonly range: (start: Value, limit: Value, step: Value, length: Dim) => Value;
  /** A tensor filled with one value. */
  readonly constantOfShape: (shape: Shape, value?: number, dtype?: DType) => Value;
  /** Adds `before` and `after` elements of zero along one axis. */
  readonly pad: (x: Value, axis: number, before: number, after: number) => Value;
  /** Zeroes elements above (`upper: false`) or below the `diagonal` of the last two axes. */
  trilu(x: Value, options: { readonly upper: boolean; readonly diagonal?: number }): Value;
}

/** Binds {@link LayoutOps} to a graph. */
export function createLayoutOps(g: GraphCore): LayoutOps {
  function axisOf(op: string, x: Value, axis: number, rank = x.shape.length): number {
    return normalizeAxis(axis, rank) ?? refuse(op, [x], `axis ${axis} is outside a tensor of rank ${rank}`);
  }
  function one(op: string, inputs: Value[], shape: Shape, dtype: DType, attributes = {}): Value {
    return g.node(op, inputs, [{ shape, dtype }], attributes)[0];
  }

  function reshape(x: Value, target: readonly Dim[]): Value {
    const filled = target.map((dim, i) => {
      if (dim !== 0 || x.shape[i] === 0) return dim;
      return (
        x.shape[i] ?? refuse('Reshape', [x], `dimension ${i} is 0 (copy) but the input has no such dimension`)
      );
    });
    const open = filled.filter((dim) => dim === -1).length;
    if (open > 1) refuse('Reshape', [x], `${formatShape(target)} has more than one -1`);
    const known = filled.filter((dim) => dim !== -1);
    const rest = quotientOf(x.shape, known);
    if (open === 0 ? productOf(known) !== productOf(x.shape) : rest === undefined)
      refuse('Reshape', [x], `does not fit ${formatShape(target)}`);
    const shape = filled.map((dim) => (dim === -1 ? (rest as Dim) : dim));
    if (sameShape(shape, x.shape)) return x;
    return one('Reshape', [x, reshapeTarget(x, shape)], shape, x.dtype);
  }
  /** Prefers constants: 0 copies a symbol in place, -1 stands for one more; only then sizes are read at run time. */
  function reshapeTarget(x: Value, shape: Shape): Value {
    const copied: Dim[] = shape.map((dim, i) => (typeof dim === 'string' && dim === x.shape[i] ? 0 : dim));
    const symbolic = copied.filter((dim) => typeof dim === 'string');
    if (symbolic.length > 1) return g.shapeTensor('Reshape', shape);
    return g.int64s(copied.map((dim) => (typeof dim === 'string' ? -1 : dim)));
  }

  function slice(x: Value, axis: number, start: number, end: number): Value {
    const at = axisOf('Slice', x, axis);
    const size = x.shape[at];
    let length: Dim;
    if (typeof size === 'number') {
      const from = start < 0 ? start + size : start;
      const to = Math.min(end < 0 ? end + size : end, size);
      if (from < 0 || to < from)
        refuse('Slice', [x], `${start}..${end} is not a range within axis ${axis} of size ${size}`);
      length = to - from;
    } else if (start >= 0 === end >= 0 && Math.abs(end) < 2 ** 31) length = end - start;
    else
      refuse(
        'Slice',
        [x],
        `the length of ${start}..${end} along "${size}" is not known when the graph is built`,
      );
    if (length === size) return x;
    const shape = x.shape.map((dim, i) => (i === at ? length : dim));
    return one('Slice', [x, g.int64s([start]), g.int64s([end]), g.int64s([at])], shape, x.dtype);
  }

  return {
    reshape,
    transpose(x, permutation) {
      const sorted = [...permutation].sort((a, b) => a - b);
      if (permutation.length !== x.shape.length || sorted.some((axis, i) => axis !== i))
        refuse('Transpose', [x], `[${permutation.join(',')}] is not a permutation of its axes`);
      const shape = permutation.map((axis) => x.shape[axis]);
      return one('Transpose', [x], shape, x.dtype, { perm: { ints: [...permutation] } });
    },
    slice,
    concat(values, axis) {
      const [first, ...others] = values;
      if (!first) return refuse('Concat', [], 'there is nothing to join');
      const at = axisOf('Concat', first, axis);
      for (const v of others) {
        if (v.dtype !== first.dtype) refuse('Concat', values, `types ${first.dtype} and ${v.dtype} differ`);
        if (
          v.shape.length !== first.shape.length ||
          v.shape.some((dim, i) => i !== at && dim !== first.shape[i])
        )
          refuse('Concat', values, `shapes differ outside axis ${at}`);
      }
      if (others.length === 0) return first;
      const sizes = values.map((v) => v.shape[at]);
      const numbers = sizes.filter((size) => typeof size === 'number');
      const joined = numbers.length === sizes.length ? numbers.reduce((a, b) => a + b, 0) : sizes.join('+');
      const shape = first.shape.map((dim, i) => (i === at ? joined : dim));
      return one('Concat', [...values], shape, first.dtype, { axis: { int: at } });
    },
    split(x, axis, sizes) {
      const at = axisOf('Split', x, axis);
      const total = sizes.reduce((a, b) => a + b, 0);
      if (total !== x.shape[at])
        refuse('Split', [x], `pieces ${formatShape(sizes)} do not add up to ${x.shape[at]}`);
      if (sizes.length === 1) return [x];
      const specs = sizes.map((size) => ({
        shape: x.shape.map((dim, i) => (i === at ? size : dim)),
        dtype: x.dtype,
      }));
      return g.node('Split', [x, g.int64s(sizes)], specs, { axis: { int: at } });
    },
    unsqueeze(x, axis) {
      const at = axisOf('Unsqueeze', x, axis, x.shape.length + 1);
      return one(
        'Unsqueeze',
        [x, g.int64s([at])],
        [...x.shape.slice(0, at), 1, ...x.shape.slice(at)],
        x.dtype,
      );
    },
    squeeze(x, axis) {
      const at = axisOf('Squeeze', x, axis);
      if (x.shape[at] !== 1) refuse('Squeeze', [x], `axis ${axis} has size ${x.shape[at]}, not 1`);
      return one(
        'Squeeze',
        [x, g.int64s([at])],
        [...x.shape.slice(0, at), ...x.shape.slice(at + 1)],
        x.dtype,
      );
    },
    expand(x, shape) {
      const joined = broadcastShapes(x.shape, shape);
      if (!joined || !sameShape(joined, shape))
        refuse('Expand', [x], `does not broadcast to ${formatShape(shape)}`);
      if (sameShape(x.shape, shape)) return x;
      return one('Expand', [x, g.shapeTensor('Expand', shape)], shape, x.dtype);
    },
    shape(x, start = 0, end = x.shape.length) {
      return one('Shape', [x], [end - start], 'int64', { start: { int: start }, end: { int: end } });
    },
    range(start, limit, step, length) {
      if (start.dtype !== limit.dtype || start.dtype !== step.dtype)
        refuse('Range', [start, limit, step], 'start, limit and step differ in type');
      return one('Range', [start, limit, step], [length], start.dtype);
    },
    constantOfShape(shape, value = 0, dtype = 'float32') {
      const fill = { dtype, shape: [1], data: toTensorData([value], dtype) };
      return one('ConstantOfShape', [g.shapeTensor('ConstantOfShape', shape)], shape, dtype, {
        value: { tensor: fill },
      });
    },
    pad(x, axis, before, after) {
      const at = axisOf('Pad', x, axis);
      const size = x.shape[at];
      if (before === 0 && after === 0) return x;
      if (typeof size !== 'number') refuse('Pad', [x], `axis ${axis} is symbolic ("${size}")`);
      const shape = x.shape.map((dim, i) => (i === at ? size + before + after : dim));
      return one('Pad', [x, g.int64s([before, after]), g.scalar(0, x.dtype), g.int64s([at])], shape, x.dtype);
    },
    trilu(x, { upper, diagonal = 0 }) {
      if (x.shape.length < 2) refuse('Trilu', [x], 'needs at least two dimensions');
      return one('Trilu', [x, g.scalar(diagonal, 'int64')], x.shape, x.dtype, {
        upper: { int: upper ? 1 : 0 },
      });
    },
  };
}
