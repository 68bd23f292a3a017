import type { Graph, Value } from '@parley/graph';
import type { Rule } from './rule.js';

/** Passes `x` on as a constant of the loss: nothing behind it gets a gradient through this use. */
export function stopGradient(g: Graph, x: Value): Value {
  const y = g.identity(x);
  g.composite({ kind: 'StopGradient', inputs: [x], outputs: [y], saved: {}, options: {} });
  return y;
}

/** Zero by definition. */
export const stopGradientRule: Rule = () => [null];
