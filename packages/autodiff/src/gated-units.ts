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

/** dgate = d up (s + silu (1 - s)) = d (out + s (up - out)), dup = d silu. */
export const swiGluRule: Rule = ({ g, d, x: [, up], y: [out], saved: { sigmoid, silu } }) => {
  const slope = g.add(out, g.mul(sigmoid, g.sub(up, out)));
  return [g.mul(d, slope), g.mul(d, silu)];
};

/**
 * `gelu_tanh(gate) * up` (Gemma), keeping what the gradient reuses. Both of one shape. The half (1 + tanh u)/2 of the
 * definition is sigmoid(2u).
 */
export function geGluTanh(g: Graph, gate: Value, up: Value): Value {
  const square = g.mul(gate, gate);
  const half = g.sigmoid(g.mul(gate, g.add(g.mul(square, g.scalar(2 * k * cubic)), g.scalar(2 * k))));
  const gelu = g.mul(gate, half);
  const out = g.mul(gelu, up);
  const saved = { square, half, gelu };
  g.composite({ kind: 'GeGluTanh', inputs: [gate, up], outputs: [out], saved, options: {} });
  return out;
}

/** With h = sigmoid(2u) and z = out d(2u)/dgate: dgate = d (up h + z (1 - h)) = d (z + h (up - z)), dup = d gelu. */
export const geGluTanhRule: Rule = ({ g, d, x: [, up], y: [out], saved: { square, half, gelu }, c }) => {
  const z = g.mul(out, g.add(g.mul(square, c(6 * k * cubic)), c(2 * k)));
  const slope = g.add(z, g.mul(half, g.sub(up, z)));
  return [g.mul(d, slope), g.mul(d, gelu)];
};
