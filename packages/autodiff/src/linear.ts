import type { Graph, Value } from '@parley/graph';

/** A low-rank side path (LoRA, arXiv 2106.09685): `scale * (x a^T) b^T`. */
export interface LowRank {
  /** `[rank, inFeatures]`. */
  readonly a: Value;
  /** `[outFeatures, rank]`. */
  readonly b: Value;
  readonly scale: number;
}

/** Options of {@link linear}. */
export interface LinearOptions {
  /** `[outFeatures]`. */
  readonly bias?: Value;
  readonly lowRank?: LowRank;
  /** Added to the result, `[tokens, outFeatures]`: a residual connection that costs no operator of its own. */
  readonly addend?: Value;
}

/**
 * `x w^T`, the weight laid out `[outFeatures, inFeatures]` as Hugging Face stores it, on `x [tokens, inFeatures]`.
 * Plain `Gemm` nodes: dx = dy w, dw = dy^T x.
 * @param weight the matrix, or `product`, which is `x w^T` already, for matrices that need another operator
 */
export function linear(
  g: Graph,
  x: Value,
  weight: Value | { readonly product: Value },
  options: LinearOptions = {},
): Value {
  const { bias, lowRank, addend } = options;
  let y: Value;
  if ('product' in weight) {
    y = bias ? g.add(weight.product, bias) : weight.product;
    if (addend) y = g.add(y, addend);
  } else {
    const first = bias ?? addend;
    y = g.gemm(x, weight, { transB: true, ...(first ? { c: first } : {}) });
    if (bias && addend) y = g.add(y, addend);
  }
  if (!lowRank) return y;
  const narrow = g.gemm(x, lowRank.a, { transB: true });
  return g.gemm(narrow, lowRank.b, { transB: true, alpha: lowRank.scale, c: y });
}
