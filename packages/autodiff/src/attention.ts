import type { Dim, Graph, Value } from '@parley/graph';
import { formatShape } from '@parley/graph';
import { AutodiffError } from './autodiff-error.js';
import type { Rule } from './rule.js';

/** Options of {@link attention}. */
export interface AttentionOptions {
  /** Multiplies the scores, usually `1/sqrt(headSize)`. */
  readonly scale: number;
  /** Added to the scores: 0 where a query may look, very negative elsewhere. `[batch or 1, 1, 1, queries, keys]`. */
  readonly mask: Value;
  /** Gemma-2's soft cap: scores become `cap * tanh(scores / cap)` before the mask. */
  readonly softCap?: number;
}

/**
 * Grouped-query attention, softmax(scale q k^T + mask) v, that keeps only the probabilities for its gradient.
 *
 * @param q `[batch, keyHeads, groups*queries, headSize]`: the query heads that share a key head lie one after another.
 * @param k `[batch, keyHeads, keys, headSize]`.
 * @param v `[batch, keyHeads, keys, headSize]`.
 * @returns The same shape as `q`.
 */
export function attention(g: Graph, q: Value, k: Value, v: Value, options: AttentionOptions): Value {
  const { scale, mask, softCap } = options;
  if (q.shape.length !== 4 || k.shape.length !== 4 || mask.shape.length !== 5)
    throw new AutodiffError(
      `attention: q ${formatShape(q.shape)} and k ${formatShape(k.shape)} must have 4 dimensions, ` +
        `the mask ${formatShape(mask.shape)} 5`,
    );
  const [batch, keyHeads, rows] = q.shape as [Dim, Dim, Dim];
  const [queries, keys] = mask.shape.slice(3) as [Dim, Dim];
  const flat = [batch, keyHeads, rows, keys];
  let scores = g.fusedMatMul(q, k, { transB: true, alpha: softCap ? scale / softCap : scale });
  const saved: Record<string, Value> = {};
  if (softCap) {
    saved.tanh = g.tanh(scores);
    scores = g.mul(saved.tanh, g.scalar(softCap));
  }
  const masked = g.add(g.reshape(scores, [batch, keyHeads, -1, queries, keys]), mask);
  saved.probabilities = g.reshape(g.softmax(masked), flat);
  const out = g.matMul(saved.probabilities, v);
  g.composite({ kind: 'Attention', inputs: [q, k, v], outputs: [out], saved, options: { scale } });
  return out;
}

/**
 * With P = softmax(S), O = P V and S = scale Q K^T: dV = P^T dO, dS = P (dO V^T - rowsum(dO O)), because
 * rowsum(dP P) = rowsum(dO O), which is headSize wide instead of keys wide (FlashAttention, arXiv 2205.14135, B.4).
 */
export const attentionRule: Rule = ({ g, d, x: [q, k, v], y: [out], saved, options: { scale }, c }) => {
  const p = saved.probabilities;
  const dp = g.fusedMatMul(d, v, { transB: true });
  const rowSum = g.reduceSum(g.mul(d, out), { axes: [-1], keepDims: true });
  let ds = g.mul(g.sub(dp, rowSum), p);
  if (saved.tanh) ds = g.mul(ds, g.sub(c(1), g.mul(saved.tanh, saved.tanh)));
  return [
    g.fusedMatMul(ds, k, { alpha: scale }),
    g.fusedMatMul(ds, q, { transA: true, alpha: scale }),
    g.fusedMatMul(p, d, { transA: true }),
  ];
};
