import type { Attribute, Graph, Value } from '@parley/graph';
import type { InputGradient, RuleTable } from './rule.js';

function flag(attribute: Attribute | undefined): boolean {
  return attribute !== undefined && 'int' in attribute && attribute.int === 1;
}
function factor(attribute: Attribute | undefined): number {
  return attribute !== undefined && 'float' in attribute ? attribute.float : 1;
}

interface Transposes {
  readonly transA: boolean;
  readonly transB: boolean;
}
type Product<Result> = (a: Value, b: Value, options: Transposes) => Result;

/** For Y = op(A) op(B): dA = dY op(B)^T and dB = op(A)^T dY, transposed back where op transposes. */
function productGradients<Result>(
  product: Product<Result>,
  a: Value,
  b: Value,
  d: Value,
  { transA, transB }: Transposes,
): Result[] {
  return [
    transA
      ? product(b, d, { transA: transB, transB: true })
      : product(d, b, { transA: false, transB: !transB }),
    transB
      ? product(d, a, { transA: true, transB: transA })
      : product(a, d, { transA: !transA, transB: false }),
  ];
}

function batched(g: Graph, alpha: number): Product<Value> {
  return (a, b, { transA, transB }) =>
    !transA && !transB && alpha === 1 ? g.matMul(a, b) : g.fusedMatMul(a, b, { transA, transB, alpha });
}

/** Matrix products. */
export const matrixRules: RuleTable = {
  // FusedMatMul has no float64 kernel, so that doubles transpose explicitly.
  MatMul: ({ g, d, x: [a, b] }) => {
    if (d.dtype === 'float32')
      return productGradients(batched(g, 1), a, b, d, { transA: false, transB: false });
    const flip = (v: Value) => {
      const axes = v.shape.map((_, i) => i);
      return g.transpose(v, [...axes.slice(0, -2), axes.length - 1, axes.length - 2]);
    };
    return [g.matMul(d, flip(b)), g.matMul(flip(a), d)];
  },
  FusedMatMul: ({ g, d, x: [a, b], attributes }) =>
    productGradients(batched(g, factor(attributes.alpha)), a, b, d, {
      transA: flag(attributes.transA),
      transB: flag(attributes.transB),
    }),
  Gemm: ({ g, d, x: [a, b, bias], attributes, c }) => {
    const alpha = factor(attributes.alpha);
    const beta = factor(attributes.beta);
    const gemm: Product<InputGradient> = (left, right, transposes) => (soFar) =>
      g.gemm(left, right, { ...transposes, alpha, ...(soFar ? { c: soFar } : {}) });
    const transposes = { transA: flag(attributes.transA), transB: flag(attributes.transB) };
    const [da, db] = productGradients(gemm, a, b, d, transposes);
    return bias ? [da, db, beta === 1 ? d : g.mul(d, c(beta))] : [da, db];
  },
};
