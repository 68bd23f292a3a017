import type { GraphCore } from './graph-core.js';
import { refuse } from './graph-core.js';
import type { Dim } from './shape.js';
import { broadcastShapes, formatShape } from './shape.js';
import type { Attribute, Value } from './value.js';

/** Options of {@link MatrixOps.gemm}: `alpha * op(a) op(b) + beta * c`. */
export interface GemmOptions {
  readonly transA?: boolean;
  readonly transB?: boolean;
  readonly alpha?: number;
  readonly beta?: number;
  /** Broadcast to the result's shape. */
  readonly c?: Value;
}

/** Options of {@link MatrixOps.fusedMatMul}; the transposes are of the last two axes. */
export interface FusedMatMulOptions {
  readonly transA?: boolean;
  readonly transB?: boolean;
  readonly alpha?: number;
}

/** Options of {@link MatrixOps.int8Product}. */
export interface Int8ProductOptions {
  /** The level of `a` that stands for zero. */
  readonly zeroPoint: number;
}

/** Matrix products. */
export interface MatrixOps {
  /** `a [..., m, k]` times `b [..., k, n]`; leading axes broadcast. */
  readonly matMul: (a: Value, b: Value) => Value;
  /** Two-dimensional product with transposes, scale and an addend: the fastest form for `[tokens, features]`. */
  readonly gemm: (a: Value, b: Value, options?: GemmOptions) => Value;
  /** Batched product with transposes and a scale (`com.microsoft`). */
  readonly fusedMatMul: (a: Value, b: Value, options?: FusedMatMulOptions) => Value;
  /**
   * `(a − zeroPoint) [m, k]` uint8 times `b [k, n]` int8, summed exactly in 32 bits, times `scales [n]`: float32 `[m, n]`
   * (`MatMulIntegerToFloat`, `com.microsoft`). Processors without VNNI saturate where 2 · max(a) · max|b| passes 32767.
   */
  readonly int8Product: (a: Value, b: Value, scales: Value, options: Int8ProductOptions) => Value;
}

/** Binds {@link MatrixOps} to a graph. */
export function createMatrixOps(g: GraphCore): MatrixOps {
  function matMulShape(op: string, a: Value, b: Value, transA: boolean, transB: boolean): Dim[] {
    if (a.dtype !== b.dtype) refuse(op, [a, b], `types ${a.dtype} and ${b.dtype} differ; cast one of them`);
    if (a.shape.length < 2 || b.shape.length < 2)
      refuse(op, [a, b], 'both operands need at least two dimensions');
    const [m, k] = lastTwo(a, transA);
    const [k2, n] = lastTwo(b, transB);
    if (k !== k2) refuse(op, [a, b], `inner dimensions ${k} and ${k2} differ${flags(transA, transB)}`);
    const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2));
    if (!batch) refuse(op, [a, b], 'the leading dimensions do not broadcast');
    return [...batch, m, n];
  }
  function lastTwo(v: Value, transposed: boolean): [Dim, Dim] {
    const [rows, columns] = v.shape.slice(-2) as [Dim, Dim];
    return transposed ? [columns, rows] : [rows, columns];
  }
  function flags(transA: boolean, transB: boolean): string {
    const set = [transA && 'transA', transB && 'transB'].filter(Boolean).join(', ');
    return set ? ` (with ${set})` : '';
  }
  function attributesOf(options: GemmOptions | FusedMatMulOptions): Record<string, Attribute> {
    const out: Record<string, Attribute> = {};
    if (options.transA) out.transA = { int: 1 };
    if (options.transB) out.transB = { int: 1 };
    if (options.alpha !== undefined && options.alpha !== 1) out.alpha = { float: options.alpha };
    return out;
  }

  return {
    matMul(a, b) {
      const shape = matMulShape('MatMul', a, b, false, false);
      return g.node('MatMul', [a, b], [{ shape, dtype: a.dtype }])[0];
    },
    gemm(a, b, options = {}) {
      const { c, beta } = options;
      const operands = c ? [a, b, c] : [a, b];
      if (a.shape.length !== 2 || b.shape.length !== 2)
        refuse('Gemm', operands, 'both factors must be matrices');
      const shape = matMulShape('Gemm', a, b, options.transA ?? false, options.transB ?? false);
      if (c) {
        if (c.dtype !== a.dtype)
          refuse('Gemm', operands, `types ${a.dtype} and ${c.dtype} differ; cast one of them`);
        const sum = broadcastShapes(c.shape, shape);
        if (!sum || c.shape.length > 2 || sum.some((dim, i) => dim !== shape[i]))
          refuse('Gemm', operands, `c does not broadcast to the product's shape ${formatShape(shape)}`);
      }
      const attributes = attributesOf(options);
      if (beta !== undefined && beta !== 1) attributes.beta = { float: beta };
      return g.node('Gemm', operands, [{ shape, dtype: a.dtype }], attributes)[0];
    },
    fusedMatMul(a, b, options = {}) {
      const shape = matMulShape('FusedMatMul', a, b, options.transA ?? false, options.transB ?? false);
      return g.node(
        'FusedMatMul',
        [a, b],
        [{ shape, dtype: a.dtype }],
        attributesOf(options),
        'com.microsoft',
      )[0];
    },
    int8Product(a, b, scales, { zeroPoint }) {
      if (a.dtype !== 'uint8' || b.dtype !== 'int8')
        refuse('MatMulIntegerToFloat', [a, b], `a must be uint8 and b int8, got ${a.dtype} and ${b.dtype}`);
      const [rows, inner] = a.shape;
      const [inner2, columns] = b.shape;
      if (a.shape.length !== 2 || b.shape.length !== 2 || inner !== inner2)
        refuse('MatMulIntegerToFloat', [a, b], 'a must be [m, k] and b [k, n]');
      if (formatShape(scales.shape) !== formatShape([columns]))
        refuse('MatMulIntegerToFloat', [a, b, scales], `the scales must be ${formatShape([columns])}`);
      const inputs = [a, b, g.scalar(1), scales, g.constant(Uint8Array.of(zeroPoint), [], 'uint8')];
      const output = { shape: [rows, columns], dtype: 'float32' } as const;
      return g.node('MatMulIntegerToFloat', inputs, [output], {}, 'com.microsoft')[0];
    },
  };
}
