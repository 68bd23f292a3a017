import type { Graph, Value } from '@parley/graph';

/**
 * The same tensor, to be had only once `others` are computed. It costs nothing: a reshape to the shape it has, which is told by
 * a target that reads the sizes of `others`. onnxruntime computes a value when the last output in line first asks for
 * something behind it; this is how a graph says what must not wait until the end (and hold its operands in memory), or must
 * not begin, or be merged with an equal computation, before its time. (Reshape neither what goes in nor what comes out:
 * onnxruntime 1.30 fails to fuse the two.)
 */
export function after(g: Graph, value: Value, others: readonly Value[]): Value {
  if (others.length === 0) return value;
  const sizes = others.map((other) => g.node('Size', [other], [{ shape: [], dtype: 'int64' }])[0]);
  const [any] = sizes.length === 1 ? sizes : g.node('Max', sizes, [{ shape: [], dtype: 'int64' }]);
  // Zeros, each of which copies a dimension.
  const target = g.mul(any, g.int64s(value.shape.map(() => 0)));
  return g.node('Reshape', [value, target], [{ shape: value.shape, dtype: value.dtype }])[0];
}
