import type { Attributes, Graph, Value } from '@parley/graph';

/** What a gradient rule sees of the operator it differentiates. */
export interface RuleContext {
  readonly g: Graph;
  /** For messages: the operator's name and the node's. */
  readonly label: string;
  /** The operator's inputs; optional inputs left out are absent from rules that read fixed places. */
  readonly x: readonly Value[];
  /** The operator's outputs. */
  readonly y: readonly Value[];
  /** Gradient of the first output, zeros if only another output has one. */
  readonly d: Value;
  /** Gradient of every output; `undefined` where none arrived. */
  readonly ds: readonly (Value | undefined)[];
  /** Which inputs lead to a value whose gradient was asked for. Others may be answered with `null` to save work. */
  readonly needs: readonly boolean[];
  /** The node's attributes; empty for composites. */
  readonly attributes: Attributes;
  /** Intermediate values a composite kept for its rule. */
  readonly saved: Readonly<Record<string, Value>>;
  /** Numbers a composite kept for its rule. */
  readonly options: Readonly<Record<string, number>>;
  /** The values whose gradients were asked for. */
  readonly wrt: ReadonlySet<Value>;
  /** A scalar of the gradient's type. */
  readonly c: (value: number) => Value;
}

/**
 * The gradient of one input; it may have the broadcast shape of the output, because the reverse pass sums it down. Or,
 * for an operator that can add at no cost: a function of what the input's other uses have gathered so far (nothing yet:
 * `undefined`), which returns the new total in the input's own shape. `null`: this input has no gradient.
 */
export type InputGradient = Value | ((soFar: Value | undefined) => Value) | null;

/** Maps the outputs' gradients to the inputs', one entry an input. */
export type Rule = (context: RuleContext) => readonly InputGradient[];

/** Gradient rules by operator name. */
export type RuleTable = Readonly<Record<string, Rule>>;
