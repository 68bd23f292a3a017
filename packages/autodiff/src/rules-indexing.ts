import type { Attribute, Graph, Shape, Value } from '@parley/graph';
import { normalizeAxis, productOf } from '@parley/graph';
import type { RuleTable } from './rule.js';

function axisOf(attribute: Attribute | undefined, rank: number): number {
  return normalizeAxis(attribute && 'int' in attribute ? attribute.int : 0, rank) ?? 0;
}

/**
 * Adds `rows [outer, n, inner]` into zeros `[outer, size, inner]` at `indices` (n of them a row of `outer`).
 * ScatterElements sums repeated indices on one thread; ScatterND with `reduction=add` races on them.
 */
function scatterRows(g: Graph, rows: Value, indices: Value, outer: Shape, size: Shape, inner: Shape): Value {
  const target = [productOf(outer), productOf(size), productOf(inner)];
  const zeros = g.constantOfShape(target, 0, rows.dtype);
  return g.scatterElements(zeros, g.expand(indices, rows.shape), rows, 1, 'add');
}

/** Operators that read or write at computed places: what was gathered is scattered, and the reverse. */
export const indexingRules: RuleTable = {
  Gather: ({ g, d, x: [x, indices], attributes }) => {
    const axis = axisOf(attributes.axis, x.shape.length);
    const outer = x.shape.slice(0, axis);
    const inner = x.shape.slice(axis + 1);
    const count = productOf(indices.shape);
    const rows = g.reshape(d, [productOf(outer), count, productOf(inner)]);
    const flat = g.reshape(indices, [1, count, 1]);
    return [g.reshape(scatterRows(g, rows, flat, outer, [x.shape[axis]], inner), x.shape), null];
  },
  GatherND: ({ g, d, x: [x, indices] }) => {
    const batch = indices.shape.length - 1;
    const outer = x.shape.slice(0, batch);
    const inner = x.shape.slice(batch + 1);
    const rows = g.reshape(d, [productOf(outer), 1, productOf(inner)]);
    const flat = g.reshape(indices, [productOf(outer), 1, 1]);
    return [g.reshape(scatterRows(g, rows, flat, outer, [x.shape[batch]], inner), x.shape), null];
  },
  GatherElements: ({ g, d, x: [x, indices], attributes }) => {
    const zeros = g.constantOfShape(x.shape, 0, d.dtype);
    return [g.scatterElements(zeros, indices, d, axisOf(attributes.axis, x.shape.length), 'add'), null];
  },
  // Without a reduction the overwritten elements of x do not reach the result.
  ScatterElements: ({ g, d, x: [x, indices, updates], attributes, needs }) => {
    const axis = axisOf(attributes.axis, x.shape.length);
    const adds =
      attributes.reduction && 'string' in attributes.reduction && attributes.reduction.string === 'add';
    const cleared = () => g.scatterElements(d, indices, g.constantOfShape(updates.shape, 0, d.dtype), axis);
    return [adds ? d : needs[0] ? cleared() : null, null, g.gatherElements(d, indices, axis)];
  },
};
