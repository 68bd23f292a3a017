import type { Graph, Value } from '@parley/graph';
import { formatShape, sameShape } from '@parley/graph';
import { AutodiffError } from './autodiff-error.js';

/**
 * The adjoint of NumPy broadcasting: sums `gradient` over the axes along which a tensor of `like`'s shape was repeated.
 */
export function unbroadcast(g: Graph, gradient: Value, like: Value): Value {
  if (sameShape(gradient.shape, like.shape)) return gradient;
  const extra = gradient.shape.length - like.shape.length;
  const axes = gradient.shape.flatMap((dim, i) =>
    i < extra || (like.shape[i - extra] === 1 && dim !== 1) ? [i] : [],
  );
  const summed = axes.length > 0 ? g.reduceSum(gradient, { axes, keepDims: true }) : gradient;
  const kept = summed.shape.slice(Math.max(extra, 0));
  if (extra < 0 || !sameShape(kept, like.shape))
    throw new AutodiffError(
      `the gradient of ${like.name} ${formatShape(like.shape)} came out as ${formatShape(gradient.shape)}; its rule is wrong`,
    );
  return g.reshape(summed, like.shape);
}
