import type { Attribute, Graph, Value } from '@parley/graph';
import { normalizeAxis } from '@parley/graph';
import { AutodiffError } from './autodiff-error.js';
import type { RuleTable } from './rule.js';

function intsOf(attribute: Attribute | undefined): readonly number[] {
  return attribute && 'ints' in attribute ? attribute.ints : [];
}
function axisOf(attribute: Attribute | undefined, rank: number): number {
  return normalizeAxis(attribute && 'int' in attribute ? attribute.int : 0, rank) ?? 0;
}
function sizesAlong(values: readonly Value[], axis: number, label: string): number[] {
  return values.map((value) => {
    const size = value.shape[axis];
    if (typeof size !== 'number')
      throw new AutodiffError(`${label}: ${value.name} has a symbolic size along axis ${axis}`);
    return size;
  });
}
function constants(g: Graph, values: readonly (Value | undefined)[], label: string): number[][] {
  return values.map((value) => {
    const numbers = value && g.constantNumbers(value);
    if (!numbers) throw new AutodiffError(`${label}: its range is computed or has no axes; use constants`);
    return numbers;
  });
}

/** Operators that move or repeat elements: the gradient moves back. */
export const layoutRules: RuleTable = {
  Reshape: ({ g, d, x: [x] }) => [g.reshape(d, x.shape), null],
  Unsqueeze: ({ g, d, x: [x] }) => [g.reshape(d, x.shape), null],
  Squeeze: ({ g, d, x: [x] }) => [g.reshape(d, x.shape), null],
  Expand: ({ d }) => [d, null],
  Transpose: ({ g, d, attributes }) => {
    const permutation = intsOf(attributes.perm);
    return [
      g.transpose(
        d,
        permutation.map((_, i) => permutation.indexOf(i)),
      ),
    ];
  },
  Slice: ({ g, d, x: [x, ...range], label }) => {
    const [starts, ends, axes, steps = []] = constants(
      g,
      [range[0], range[1], range[2], ...range.slice(3)],
      label,
    );
    if (steps.some((step) => step !== 1))
      throw new AutodiffError(`${label}: only steps of 1 are differentiable`);
    const gradient = axes.reduce((inner, axis, i) => {
      const at = normalizeAxis(axis, x.shape.length) ?? axis;
      const [size] = sizesAlong([x], at, label);
      const clamp = (place: number) => Math.min(place < 0 ? place + size : place, size);
      return g.pad(inner, at, clamp(starts[i]), size - clamp(ends[i]));
    }, d);
    return [gradient, ...range.map(() => null)];
  },
  Pad: ({ g, d, x: [x, pads, , axes], label }) => {
    const [[before], [axis]] = constants(g, [pads, axes], label);
    const at = normalizeAxis(axis, x.shape.length) ?? axis;
    return [g.slice(d, at, before, before + sizesAlong([x], at, label)[0]), null, null, null];
  },
  Concat: ({ g, d, x, attributes, label }) => {
    const axis = axisOf(attributes.axis, d.shape.length);
    return g.split(d, axis, sizesAlong(x, axis, label));
  },
  Split: ({ g, ds, y, attributes }) => {
    const axis = axisOf(attributes.axis, y[0].shape.length);
    const zeros = (value: Value) => g.constantOfShape(value.shape, 0, value.dtype);
    return [
      g.concat(
        y.map((value, i) => ds[i] ?? zeros(value)),
        axis,
      ),
      null,
    ];
  },
  Trilu: ({ g, d, x: [, diagonal], attributes, label }) => {
    const [[k]] = constants(g, [diagonal], label);
    const upper = attributes.upper && 'int' in attributes.upper ? attributes.upper.int === 1 : true;
    return [g.trilu(d, { upper, diagonal: k }), null];
  },
};
