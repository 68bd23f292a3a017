import type { Attribute, Graph, Value } from '@parley/graph';
import { elementCount, normalizeAxis } from '@parley/graph';
import { AutodiffError } from './autodiff-error.js';
import type { RuleContext, RuleTable } from './rule.js';

function axisAttribute(attribute: Attribute | undefined, rank: number): number {
  return normalizeAxis(attribute && 'int' in attribute ? attribute.int : -1, rank) ?? rank - 1;
}

/** Axes a reduction summed away. */
function reducedAxes({ g, x: [x, axes], label }: RuleContext): number[] {
  if (!axes) return x.shape.map((_, i) => i);
  const numbers = g.constantNumbers(axes);
  if (!numbers) throw new AutodiffError(`${label}: its axes are computed; use constant axes`);
  return numbers.map((axis) => normalizeAxis(axis, x.shape.length) ?? axis);
}

/** Puts reduced axes back with size 1, so that the value broadcasts against the input. */
function keepDims(g: Graph, value: Value, like: Value, axes: readonly number[]): Value {
  return g.reshape(
    value,
    like.shape.map((dim, i) => (axes.includes(i) ? 1 : dim)),
  );
}

/** Reductions, scans and selections along an axis. */
export const reduceRules: RuleTable = {
  ReduceSum: (context) => {
    const { g, d, x } = context;
    return [g.expand(keepDims(g, d, x[0], reducedAxes(context)), x[0].shape), null];
  },
  ReduceMean: (context) => {
    const { g, d, x, c, label } = context;
    const axes = reducedAxes(context);
    const count = elementCount(axes.map((axis) => x[0].shape[axis]));
    if (count === undefined)
      throw new AutodiffError(`${label}: averages a symbolic axis; use a sum and a known count`);
    return [g.expand(keepDims(g, g.mul(d, c(1 / count)), x[0], axes), x[0].shape), null];
  },
  // Elements that tie for the maximum share its gradient.
  ReduceMax: (context) => {
    const { g, d, x, y } = context;
    const axes = reducedAxes(context);
    const winners = g.cast(g.equal(x[0], keepDims(g, y[0], x[0], axes)), d.dtype);
    const share = g.div(keepDims(g, d, x[0], axes), g.reduceSum(winners, { axes, keepDims: true }));
    return [g.mul(winners, share), null];
  },
  // dx = y (d - sum(d y))
  Softmax: ({ g, d, y: [y], attributes }) => {
    const axes = [axisAttribute(attributes.axis, y.shape.length)];
    return [g.mul(y, g.sub(d, g.reduceSum(g.mul(d, y), { axes, keepDims: true })))];
  },
  // dx = d - softmax(x) sum(d)
  LogSoftmax: ({ g, d, x: [x], attributes }) => {
    const axis = axisAttribute(attributes.axis, x.shape.length);
    return [g.sub(d, g.mul(g.softmax(x, axis), g.reduceSum(d, { axes: [axis], keepDims: true })))];
  },
  CumSum: ({ g, d, x: [, axis], attributes, label }) => {
    const [at] = g.constantNumbers(axis) ?? [];
    if (at === undefined) throw new AutodiffError(`${label}: its axis is computed; use a constant axis`);
    const set = (attribute: Attribute | undefined) =>
      attribute !== undefined && 'int' in attribute && attribute.int === 1;
    return [
      g.cumSum(d, at, { exclusive: set(attributes.exclusive), reverse: !set(attributes.reverse) }),
      null,
    ];
  },
  TopK: ({ g, d, x: [x], y: [, indices], attributes }) => {
    const axis = axisAttribute(attributes.axis, x.shape.length);
    return [g.scatterElements(g.constantOfShape(x.shape, 0, d.dtype), indices, d, axis, 'add'), null];
  },
};
