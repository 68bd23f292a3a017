import type { Graph, Value } from '@parley/graph';
import type { Rule } from './rule.js';

const k = Math.sqrt(2 / Math.PI);
const cubic = 0.044715;

/** `silu(gate) * up` (Llama, Qwen), keeping the sigmoid for the gradient. Both of one shape. */
export function swiGlu(g: Graph, gate: Value, up: Value): Value {
  const sigmoid = g.sigmoid(gate);
  const silu = g.mul(gate, sigmoid);
  const out = g.mul(silu, up);
  g.composite({ kind: 'SwiGlu', inputs: [gate, up], outputs: [out], saved: { sigmoid, silu }, options: {} });
  return out;
}

/** dgate = d up (s + silu (1 - s)), dup = d silu. */
export const swiGluRule: Rule = ({ g, d, x: [, up], saved: { sigmoid, silu }, c }) => {
  const slope = g.add(sigmoid, g.mul(silu, g.sub(c(1), sigmoid)));
  return [g.mul(g.mul(d, up), slope), g.mul(d, silu)];
};

/** `gelu_tanh(gate) * up` (Gemma), keeping the hyperbolic tangent for the gradient. Both of one shape. */
export function geGluTanh(g: Graph, gate: Value, up: Value): Value {
  const square = g.mul(gate, gate);
  const tanh = g.tanh(g.mul(gate, g.add(g.mul(square, g.scalar(k * cubic)), g.scalar(k))));
  const half = g.mul(g.add(tanh, g.scalar(1)), g.scalar(0.5));
  const gelu = g.mul(gate, half);
  const out = g.mul(gelu, up);
  const saved = { square, tanh, half, gelu };
  g.composite({ kind: 'GeGluTanh', inputs: [gate, up], outputs: [out], saved, options: {} });
  return out;
}

/** dgate = d up (h + x (1 - t^2)/2 k (1 + 3*0.044715 x^2)) with h = (1 + t)/2, and (1 - t^2)/2 = 2 h (1 - h). */
export const geGluTanhRule: Rule = ({ g, d, x: [, up], saved: { square, half, gelu }, c }) => {
  const du = g.add(g.mul(square, c(6 * k * cubic)), c(2 * k));
  const bend = g.mul(g.mul(gelu, g.sub(c(1), half)), du);
  return [g.mul(g.mul(d, up), g.add(half, bend)), g.mul(d, gelu)];
};
