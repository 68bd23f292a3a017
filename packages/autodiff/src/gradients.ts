import type { Composite, Graph, GraphNode, Value } from '@parley/graph';
import { formatShape, isFloat, sameShape } from '@parley/graph';
import { AutodiffError } from './autodiff-error.js';
import type { InputGradient, Rule, RuleContext } from './rule.js';
import { compositeRules, noGradientOperators, operatorRules } from './rules.js';
import { unbroadcast } from './unbroadcast.js';

/** A value to differentiate and the gradient that flows into it; a scalar needs no seed (it is 1). */
export interface Target {
  readonly value: Value;
  /** Of the value's shape and type. */
  readonly seed?: Value;
}

/**
 * Appends the reverse pass of `targets` to the graph and returns the gradient of each value of `wrt`, in order, with its
 * shape and type. A value the targets do not depend on gets zeros. `wrt` may name inputs, initializers or intermediate
 * values. May be called several times on one graph.
 *
 * @param sums What the gradients are added to, one entry a value of `wrt`; `null` for nothing, and wherever the value is not
 * an input of the graph. Products take a sum in at no cost, where adding outside would pass over memory once more.
 * @throws AutodiffError when a target is not a scalar and has no seed, a value of `wrt` cannot have a gradient, or an
 * operator on the way has no rule.
 */
export function gradients(
  g: Graph,
  targets: Value | readonly Target[],
  wrt: readonly Value[],
  sums: readonly (Value | null)[] = wrt.map(() => null),
): Value[] {
  const list = Array.isArray(targets) ? (targets as readonly Target[]) : [{ value: targets as Value }];
  for (const value of wrt) checkWrt(g, value);
  checkSums(wrt, sums);
  const wanted = new Set(wrt);
  const steps = stepsOf(g);
  const active = activeValues(steps, wanted);
  const found = new Map<Value, Value>(sums.flatMap((sum, i) => (sum ? [[wrt[i], sum]] : [])));
  const settled = new Set<Value>();

  function accumulate(value: Value, gradient: Exclude<InputGradient, null>): void {
    const soFar = found.get(value);
    if (typeof gradient === 'function') {
      found.set(value, gradient(soFar));
      return;
    }
    const summand = unbroadcast(g, gradient, value);
    found.set(value, soFar ? g.sum([soFar, summand]) : summand);
  }

  for (const target of list) accumulate(target.value, seedOf(g, target));
  for (const step of steps.toReversed()) {
    const outputs = step.outputs.filter((output) => active.has(output) && !settled.has(output));
    if (!outputs.some((output) => found.has(output))) continue;
    if (step.composite) for (const output of step.outputs) settled.add(output);
    const needs = step.inputs.map((input) => input !== null && active.has(input));
    if (!needs.some(Boolean)) continue;
    const results = step.rule()(contextOf(g, step, needs, found, wanted));
    for (const [i, gradient] of results.entries()) {
      const input = step.inputs[i];
      if (gradient && input && needs[i]) accumulate(input, gradient);
    }
  }
  return wrt.map((value) => found.get(value) ?? g.constantOfShape(value.shape, 0, value.dtype));
}

/** A node or composite as the reverse pass sees it. */
interface Step {
  readonly label: string;
  readonly composite: boolean;
  readonly inputs: readonly (Value | null)[];
  readonly outputs: readonly Value[];
  readonly attributes: RuleContext['attributes'];
  readonly saved: RuleContext['saved'];
  readonly options: RuleContext['options'];
  /** Whether gradients pass through at all. */
  readonly differentiable: boolean;
  readonly rule: () => Rule;
}

/** Nodes and composites in order; a composite comes after its last node, so that the reverse pass meets it first. */
function stepsOf(g: Graph): Step[] {
  const closing = new Map<number, Composite[]>();
  for (const composite of g.composites)
    closing.set(composite.endNode, [...(closing.get(composite.endNode) ?? []), composite]);
  return g.nodes.flatMap((node, i) => [stepOfNode(node), ...(closing.get(i + 1) ?? []).map(stepOfComposite)]);
}

function stepOfNode(node: GraphNode): Step {
  return {
    ...node,
    label: `${node.op} ${node.name}`,
    composite: false,
    saved: {},
    options: {},
    differentiable: !noGradientOperators.has(node.op),
    rule: () => {
      const rule = operatorRules[node.op];
      if (rule) return rule;
      throw new AutodiffError(
        `no gradient rule for operator ${node.op} (node ${node.name}, inputs ${listOf(node.inputs)}); ` +
          `add one to the table, or cut the path with stopGradient`,
      );
    },
  };
}

function stepOfComposite(composite: Composite): Step {
  return {
    ...composite,
    label: `${composite.kind} ${composite.outputs[0].name}`,
    composite: true,
    attributes: {},
    differentiable: true,
    rule: () => {
      const rule = compositeRules[composite.kind];
      if (rule) return rule;
      throw new AutodiffError(
        `no gradient rule for composite ${composite.kind} (${listOf(composite.outputs)})`,
      );
    },
  };
}

/** Values whose change can change a value of `wanted`'s dependants: the forward closure along float paths. */
function activeValues(steps: readonly Step[], wanted: ReadonlySet<Value>): Set<Value> {
  const active = new Set<Value>(wanted);
  for (const step of steps) {
    if (!step.differentiable || !step.inputs.some((input) => input && active.has(input))) continue;
    for (const output of step.outputs) if (isFloat(output.dtype)) active.add(output);
  }
  return active;
}

function contextOf(
  g: Graph,
  step: Step,
  needs: readonly boolean[],
  found: ReadonlyMap<Value, Value>,
  wrt: ReadonlySet<Value>,
): RuleContext {
  const ds = step.outputs.map((output) => found.get(output));
  const first = step.outputs[0];
  const d = ds[0] ?? g.constantOfShape(first.shape, 0, first.dtype);
  return {
    g,
    label: step.label,
    x: step.inputs as readonly Value[],
    y: step.outputs,
    d,
    ds,
    needs,
    attributes: step.attributes,
    saved: step.saved,
    options: step.options,
    wrt,
    c: (value) => g.scalar(value, d.dtype),
  };
}

function seedOf(g: Graph, { value, seed }: Target): Value {
  if (!isFloat(value.dtype))
    throw new AutodiffError(`cannot differentiate ${value.name}: it is ${value.dtype}`);
  if (seed) {
    if (sameShape(seed.shape, value.shape) && seed.dtype === value.dtype) return seed;
    throw new AutodiffError(
      `the seed ${seed.name} ${formatShape(seed.shape)} of ${seed.dtype} does not match ${value.name} ` +
        `${formatShape(value.shape)} of ${value.dtype}`,
    );
  }
  if (value.shape.length > 0)
    throw new AutodiffError(
      `${value.name} ${formatShape(value.shape)} is not a scalar; reduce it or give a seed of its shape`,
    );
  return g.scalar(1, value.dtype);
}

function checkWrt(g: Graph, value: Value): void {
  if (value.owner !== g)
    throw new AutodiffError(`${value.name} belongs to graph "${value.owner.name}", not to "${g.name}"`);
  if (!isFloat(value.dtype))
    throw new AutodiffError(`${value.name} is ${value.dtype}, which has no gradient; only float values have`);
}

function checkSums(wrt: readonly Value[], sums: readonly (Value | null)[]): void {
  if (sums.length !== wrt.length)
    throw new AutodiffError(
      `${sums.length} sums were given for ${wrt.length} values; give one for each, or null`,
    );
  for (const [i, sum] of sums.entries()) {
    const value = wrt[i];
    if (!sum) continue;
    if (value.producer)
      throw new AutodiffError(
        `${value.name} is computed in the graph, and what is added to its gradient would flow on from there; give null in ` +
          `place of ${sum.name}`,
      );
    if (!sameShape(sum.shape, value.shape) || sum.dtype !== value.dtype)
      throw new AutodiffError(
        `the sum ${sum.name} ${formatShape(sum.shape)} of ${sum.dtype} does not match ${value.name} ` +
          `${formatShape(value.shape)} of ${value.dtype}`,
      );
  }
}

function listOf(values: readonly (Value | null)[]): string {
  return values.map((value) => (value ? `${value.name} ${formatShape(value.shape)}` : '-')).join(', ');
}
