import type { GraphCore } from './graph-core.js';
import { refuse } from './graph-core.js';
import { normalizeAxis } from './shape.js';
import type { Value } from './value.js';

/** Operators that read or write at computed places. */
export interface IndexingOps {
  /** Whole slices of `x` along `axis` at integer `indices` of any shape: `x[indices]` for axis 0. */
  readonly gather: (x: Value, indices: Value, axis?: number) => Value;
  /** One element per index: `out[i][j] = x[i][indices[i][j]]` for axis 1. */
  readonly gatherElements: (x: Value, indices: Value, axis: number) => Value;
  /** `x[b][indices[b]]` for every row `b` of the leading axes (`GatherND` with `batch_dims`): indices `[batch..., 1]`. */
  readonly gatherRows: (x: Value, indices: Value) => Value;
  /** A copy of `x` with elements replaced (or added to) at `indices`; sums over repeated indices without races. */
  readonly scatterElements: (
    x: Value,
    indices: Value,
    updates: Value,
    axis: number,
    reduction?: 'none' | 'add',
  ) => Value;
}

/** Binds {@link IndexingOps} to a graph. */
export function createIndexingOps(g: GraphCore): IndexingOps {
  function checkIndices(op: string, operands: Value[], indices: Value): void {
    if (indices.dtype !== 'int64' && indices.dtype !== 'int32')
      refuse(op, operands, `indices must be int64 or int32, got ${indices.dtype}`);
  }
  function axisOf(op: string, operands: Value[], x: Value, axis: number): number {
    const rank = x.shape.length;
    return (
      normalizeAxis(axis, rank) ?? refuse(op, operands, `axis ${axis} is outside a tensor of rank ${rank}`)
    );
  }
  return {
    gather(x, indices, axis = 0) {
      const operands = [x, indices];
      checkIndices('Gather', operands, indices);
      const at = axisOf('Gather', operands, x, axis);
      const shape = [...x.shape.slice(0, at), ...indices.shape, ...x.shape.slice(at + 1)];
      return g.node('Gather', operands, [{ shape, dtype: x.dtype }], { axis: { int: at } })[0];
    },
    gatherElements(x, indices, axis) {
      const operands = [x, indices];
      checkIndices('GatherElements', operands, indices);
      const at = axisOf('GatherElements', operands, x, axis);
      if (x.shape.length !== indices.shape.length) refuse('GatherElements', operands, 'the ranks differ');
      const spec = { shape: indices.shape, dtype: x.dtype };
      return g.node('GatherElements', operands, [spec], { axis: { int: at } })[0];
    },
    gatherRows(x, indices) {
      const operands = [x, indices];
      if (indices.dtype !== 'int64')
        refuse('GatherND', operands, `indices must be int64, got ${indices.dtype}`);
      const batch = indices.shape.length - 1;
      const agree = indices.shape.slice(0, batch).every((dim, i) => dim === x.shape[i]);
      if (batch < 1 || x.shape.length <= batch || !agree || indices.shape[batch] !== 1)
        refuse('GatherND', operands, 'indices must be the leading axes of x followed by 1');
      const spec = { shape: [...x.shape.slice(0, batch), ...x.shape.slice(batch + 1)], dtype: x.dtype };
      return g.node('GatherND', operands, [spec], { batch_dims: { int: batch } })[0];
    },
    scatterElements(x, indices, updates, axis, reduction = 'none') {
      const operands = [x, indices, updates];
      checkIndices('ScatterElements', operands, indices);
      const at = axisOf('ScatterElements', operands, x, axis);
      if (updates.dtype !== x.dtype)
        refuse('ScatterElements', operands, `types ${x.dtype} and ${updates.dtype} differ`);
      const aligned = indices.shape.length === x.shape.length && updates.shape.length === x.shape.length;
      if (!aligned || indices.shape.some((dim, i) => dim !== updates.shape[i]))
        refuse('ScatterElements', operands, 'indices and updates must have one shape, of the rank of x');
      const attributes = { axis: { int: at }, reduction: { string: reduction } };
      return g.node('ScatterElements', operands, [{ shape: x.shape, dtype: x.dtype }], attributes)[0];
    },
  };
}
