import type { DType } from './dtype.js';
import { isFloat, onnxTypeCode } from './dtype.js';
import type { GraphCore } from './graph-core.js';
import { refuse } from './graph-core.js';
import { broadcastShapes, formatShape, sameShape } from './shape.js';
import type { Attributes, Value } from './value.js';

/** Operators that work element by element; binary ones broadcast as NumPy does. */
export interface ElementwiseOps {
  readonly add: (a: Value, b: Value) => Value;
  /** Adds any number of tensors of one shape; onnxruntime folds it into a `Gemm` that makes one of them. */
  readonly sum: (values: readonly Value[]) => Value;
  readonly sub: (a: Value, b: Value) => Value;
  readonly mul: (a: Value, b: Value) => Value;
  readonly div: (a: Value, b: Value) => Value;
  /** `base ** exponent`. */
  readonly pow: (base: Value, exponent: Value) => Value;
  readonly min: (a: Value, b: Value) => Value;
  readonly max: (a: Value, b: Value) => Value;
  /** Remainder with the divisor's sign for integers; C `fmod` for floats. */
  readonly mod: (a: Value, b: Value) => Value;
  readonly neg: (x: Value) => Value;
  readonly abs: (x: Value) => Value;
  /** -1, 0 or 1. */
  readonly sign: (x: Value) => Value;
  readonly exp: (x: Value) => Value;
  readonly log: (x: Value) => Value;
  readonly sqrt: (x: Value) => Value;
  readonly reciprocal: (x: Value) => Value;
  readonly tanh: (x: Value) => Value;
  readonly sigmoid: (x: Value) => Value;
  readonly sin: (x: Value) => Value;
  readonly cos: (x: Value) => Value;
  readonly floor: (x: Value) => Value;
  /** To the nearest integer, halves to the even one. */
  readonly round: (x: Value) => Value;
  readonly relu: (x: Value) => Value;
  readonly identity: (x: Value) => Value;
  /** `x * sigmoid(x)`. */
  readonly silu: (x: Value) => Value;
  /** `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`, the approximation Gemma calls `gelu_pytorch_tanh`. */
  readonly geluTanh: (x: Value) => Value;
  /** Booleans. */
  readonly equal: (a: Value, b: Value) => Value;
  readonly less: (a: Value, b: Value) => Value;
  readonly lessOrEqual: (a: Value, b: Value) => Value;
  readonly greater: (a: Value, b: Value) => Value;
  readonly greaterOrEqual: (a: Value, b: Value) => Value;
  readonly and: (a: Value, b: Value) => Value;
  readonly or: (a: Value, b: Value) => Value;
  readonly not: (x: Value) => Value;
  /** `condition ? a : b`, all three broadcast. */
  readonly where: (condition: Value, a: Value, b: Value) => Value;
  readonly cast: (x: Value, to: DType) => Value;
}

/** Binds {@link ElementwiseOps} to a graph. */
export function createElementwiseOps(g: GraphCore): ElementwiseOps {
  function emit(op: string, inputs: Value[], like: Value, attributes?: Attributes, domain?: string): Value {
    return g.node(op, inputs, [{ shape: like.shape, dtype: like.dtype }], attributes, domain)[0];
  }
  function floatOnly(op: string, x: Value): void {
    if (!isFloat(x.dtype)) refuse(op, [x], `takes a float tensor, got ${x.dtype}; cast it first`);
  }
  function float(op: string, attributes?: Attributes, domain?: string) {
    return (x: Value) => {
      floatOnly(op, x);
      return emit(op, [x], x, attributes, domain);
    };
  }
  function broadcast(op: string, a: Value, b: Value) {
    if (a.dtype !== b.dtype) refuse(op, [a, b], `types ${a.dtype} and ${b.dtype} differ; cast one of them`);
    return broadcastShapes(a.shape, b.shape) ?? refuse(op, [a, b], 'the shapes do not broadcast');
  }
  function binary(op: string, result?: DType, attributes?: (a: Value) => Attributes) {
    return (a: Value, b: Value) => {
      const shape = broadcast(op, a, b);
      return g.node(op, [a, b], [{ shape, dtype: result ?? a.dtype }], attributes?.(a))[0];
    };
  }
  function logical(op: string) {
    const compute = binary(op, 'bool');
    return (a: Value, b: Value) =>
      a.dtype === 'bool' ? compute(a, b) : refuse(op, [a, b], `takes bool, got ${a.dtype}`);
  }

  return {
    add: binary('Add'),
    sum(values) {
      const [first, ...others] = values;
      if (!first) return refuse('Sum', [], 'there is nothing to add');
      for (const v of others)
        if (v.dtype !== first.dtype || !sameShape(v.shape, first.shape))
          refuse('Sum', values, 'the operands differ in shape or type');
      return others.length === 0 ? first : emit('Sum', [...values], first);
    },
    sub: binary('Sub'),
    mul: binary('Mul'),
    div: binary('Div'),
    pow: binary('Pow'),
    min: binary('Min'),
    max: binary('Max'),
    mod: binary('Mod', undefined, (a) => ({ fmod: { int: isFloat(a.dtype) ? 1 : 0 } })),
    neg: (x) => emit('Neg', [x], x),
    abs: (x) => emit('Abs', [x], x),
    sign: (x) => emit('Sign', [x], x),
    exp: float('Exp'),
    log: float('Log'),
    sqrt: float('Sqrt'),
    reciprocal: float('Reciprocal'),
    tanh: float('Tanh'),
    sigmoid: float('Sigmoid'),
    sin: float('Sin'),
    cos: float('Cos'),
    floor: float('Floor'),
    round: float('Round'),
    relu: float('Relu'),
    identity: (x) => emit('Identity', [x], x),
    silu: float('QuickGelu', { alpha: { float: 1 } }, 'com.microsoft'),
    geluTanh: float('Gelu', { approximate: { string: 'tanh' } }),
    equal: binary('Equal', 'bool'),
    less: binary('Less', 'bool'),
    lessOrEqual: binary('LessOrEqual', 'bool'),
    greater: binary('Greater', 'bool'),
    greaterOrEqual: binary('GreaterOrEqual', 'bool'),
    and: logical('And'),
    or: logical('Or'),
    not: (x) => (x.dtype === 'bool' ? emit('Not', [x], x) : refuse('Not', [x], `takes bool, got ${x.dtype}`)),
    where(condition, a, b) {
      const all = [condition, a, b];
      if (condition.dtype !== 'bool') refuse('Where', all, `the condition is ${condition.dtype}, not bool`);
      const chosen = broadcast('Where', a, b);
      const shape = broadcastShapes(condition.shape, chosen);
      if (!shape) refuse('Where', all, `the condition does not broadcast with ${formatShape(chosen)}`);
      return g.node('Where', all, [{ shape, dtype: a.dtype }])[0];
    },
    cast(x, to) {
      if (x.dtype === to) return x;
      return g.node('Cast', [x], [{ shape: x.shape, dtype: to }], {
        to: { int: onnxTypeCode[to] },
      })[0];
    },
  };
}
