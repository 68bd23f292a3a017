import { isFloat } from '@parley/graph';
import type { RuleTable } from './rule.js';

const sqrt2OverPi = Math.sqrt(2 / Math.PI);
const geluCubic = 0.044715;

/** Operators that work element by element; `d` is dL/dy. Broadcast inputs are summed down by the reverse pass. */
export const elementwiseRules: RuleTable = {
  Add: ({ d }) => [d, d],
  Sum: ({ d, x }) => x.map(() => d),
  Sub: ({ g, d }) => [d, g.neg(d)],
  Mul: ({ g, d, x: [a, b] }) => [g.mul(d, b), g.mul(d, a)],
  Div: ({ g, d, x: [, b], y: [y] }) => [g.div(d, b), g.neg(g.div(g.mul(d, y), b))],
  Neg: ({ g, d }) => [g.neg(d)],
  Abs: ({ g, d, x: [x] }) => [g.mul(d, g.sign(x))],
  Exp: ({ g, d, y: [y] }) => [g.mul(d, y)],
  Log: ({ g, d, x: [x] }) => [g.div(d, x)],
  Sqrt: ({ g, d, y: [y], c }) => [g.div(d, g.mul(y, c(2)))],
  Reciprocal: ({ g, d, y: [y] }) => [g.neg(g.mul(d, g.mul(y, y)))],
  Sin: ({ g, d, x: [x] }) => [g.mul(d, g.cos(x))],
  Cos: ({ g, d, x: [x] }) => [g.neg(g.mul(d, g.sin(x)))],
  Tanh: ({ g, d, y: [y], c }) => [g.mul(d, g.sub(c(1), g.mul(y, y)))],
  Sigmoid: ({ g, d, y: [y], c }) => [g.mul(d, g.mul(y, g.sub(c(1), y)))],
  Relu: ({ g, d, x: [x], c }) => [g.where(g.greater(x, c(0)), d, c(0))],
  Identity: ({ d }) => [d],
  // d(b^e) = e b^(e-1) db + b^e log(b) de; the second term is dropped unless the exponent is trained.
  Pow: ({ g, d, x: [b, e], y: [y], c, needs }) => [
    g.mul(d, g.mul(e, g.pow(b, g.sub(e, c(1))))),
    needs[1] ? g.mul(d, g.mul(y, g.log(b))) : null,
  ],
  // Ties go to the first operand.
  Min: ({ g, d, x: [a, b], c }) => [
    g.where(g.lessOrEqual(a, b), d, c(0)),
    g.where(g.lessOrEqual(a, b), c(0), d),
  ],
  Max: ({ g, d, x: [a, b], c }) => [
    g.where(g.greaterOrEqual(a, b), d, c(0)),
    g.where(g.greaterOrEqual(a, b), c(0), d),
  ],
  Where: ({ g, d, x: [condition], c }) => [null, g.where(condition, d, c(0)), g.where(condition, c(0), d)],
  Cast: ({ g, d, x: [x] }) => [isFloat(x.dtype) ? g.cast(d, x.dtype) : null],
  // y = x s(ax), s the logistic function: dy/dx = s + a y (1 - s)
  QuickGelu: ({ g, d, x: [x], y: [y], c, attributes }) => {
    const alpha = attributes.alpha && 'float' in attributes.alpha ? attributes.alpha.float : 1.702;
    const s = g.sigmoid(alpha === 1 ? x : g.mul(x, c(alpha)));
    const slope = g.mul(y, g.sub(c(1), s));
    return [g.mul(d, g.add(s, alpha === 1 ? slope : g.mul(slope, c(alpha))))];
  },
  // y = x/2 (1 + t), t = tanh(u), u = k (x + 0.044715 x^3): dy/dx = (1 + t)/2 + x/2 (1 - t^2) du/dx
  Gelu: ({ g, d, x: [x], c }) => {
    const square = g.mul(x, x);
    const u = g.mul(x, g.add(c(sqrt2OverPi), g.mul(square, c(sqrt2OverPi * geluCubic))));
    const du = g.add(c(sqrt2OverPi), g.mul(square, c(3 * sqrt2OverPi * geluCubic)));
    const t = g.tanh(u);
    const bend = g.mul(g.mul(x, du), g.sub(c(1), g.mul(t, t)));
    return [g.mul(d, g.mul(c(0.5), g.add(g.add(t, c(1)), bend)))];
  },
};
