import type { Graph, Value } from '@parley/graph';

/** `cap * tanh(x / cap)`, Gemma-2's bound on logits. Plain operators. */
export function softCap(g: Graph, x: Value, cap: number): Value {
  return g.mul(g.tanh(g.mul(x, g.scalar(1 / cap, x.dtype))), g.scalar(cap, x.dtype));
}
