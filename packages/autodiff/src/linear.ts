import type { Graph, Value } from '@parley/graph';
import { isQuantized, quantizedGradient, timesQuantized } from './quantized-matrix.js';
import type { QuantizedMatrix } from './quantized-matrix.js';
import type { InputGradient, Rule } from './rule.js';

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
  /** The result, where it is known already: nothing is computed then, but gradients pass as if it had been. */
  readonly computed?: Value;
}

/**
 * `x w^T`, the weight laid out `[outFeatures, inFeatures]` as Hugging Face stores it, on `x [tokens, inFeatures]`.
 * Plain `Gemm` nodes.
 * @param weight the matrix; or one in 8 bits, which is frozen; or `product`, which is `x w^T` already, for matrices that need another
 * operator: then there is no gradient
 */
export function linear(
  g: Graph,
  x: Value,
  weight: Value | QuantizedMatrix | { readonly product: Value },
  options: LinearOptions = {},
): Value {
  const { bias, lowRank, addend, computed } = options;
  const narrow = lowRank ? g.gemm(x, lowRank.a, { transB: true }) : undefined;
  if ('product' in weight) return sumOf(g, weight.product, options, narrow);
  const quantized = isQuantized(weight) ? weight : undefined;
  const y = computed ?? product(g, x, weight, options, narrow);
  g.composite({
    kind: 'Linear',
    inputs: [
      x,
      isQuantized(weight) ? null : weight,
      bias ?? null,
      addend ?? null,
      lowRank?.a ?? null,
      lowRank?.b ?? null,
    ],
    outputs: [y],
    saved: { ...(narrow ? { narrow } : {}), ...quantized },
    options: { scale: lowRank?.scale ?? 0 },
  });
  return y;
}

function product(
  g: Graph,
  x: Value,
  weight: Value | QuantizedMatrix,
  options: LinearOptions,
  narrow: Value | undefined,
): Value {
  if (isQuantized(weight)) return sumOf(g, timesQuantized(g, x, weight), options, narrow);
  const { bias, addend } = options;
  const first = bias ?? addend;
  let y = g.gemm(x, weight, { transB: true, ...(first ? { c: first } : {}) });
  if (bias && addend) y = g.add(y, addend);
  return withLowRank(g, y, options, narrow);
}

function sumOf(g: Graph, product: Value, options: LinearOptions, narrow: Value | undefined): Value {
  const terms = [product, options.bias, options.addend].filter((term) => term !== undefined);
  return withLowRank(
    g,
    terms.reduce((a, b) => g.add(a, b)),
    options,
    narrow,
  );
}

function withLowRank(g: Graph, y: Value, { lowRank }: LinearOptions, narrow: Value | undefined): Value {
  return lowRank && narrow ? g.gemm(narrow, lowRank.b, { transB: true, alpha: lowRank.scale, c: y }) : y;
}

/**
 * dx = dy w + dn a and dw = dy^T x, with n = x a^T and dn = scale dy b; da = dn^T x and db = scale dy^T n. Each product takes
 * in what other uses of its operand have gathered.
 */
export const linearRule: Rule = ({ g, d, x: inputs, needs, saved, options: { scale } }) => {
  const [x, weight, bias, addend, a, b] = inputs as readonly (Value | null)[];
  const { narrow, values, scales } = saved;
  const plus = (c: Value | undefined) => (c ? { c } : {});
  const dNarrow = narrow ? g.gemm(d, b!, { alpha: scale }) : undefined;
  const into =
    (left: Value, right: Value, alpha = 1): InputGradient =>
    (soFar) =>
      g.gemm(left, right, { transA: true, alpha, ...plus(soFar) });
  return [
    (soFar) => {
      const dx = weight ? g.gemm(d, weight, plus(soFar)) : quantizedGradient(g, d, { values, scales }, soFar);
      return dNarrow ? g.gemm(dNarrow, a!, { c: dx }) : dx;
    },
    needs[1] ? into(d, x!) : null,
    bias ? d : null,
    addend ? d : null,
    dNarrow ? into(dNarrow, x!) : null,
    narrow ? into(d, narrow, scale) : null,
  ];
};
