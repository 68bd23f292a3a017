import type { Graph, Value } from '@parley/graph';
import { formatShape } from '@parley/graph';
import { AutodiffError } from './autodiff-error.js';
import type { Rule, RuleContext } from './rule.js';
import { softCap as capped } from './soft-cap.js';

/** Options of {@link vocabularyHead}. */
export interface VocabularyHeadOptions {
  /** Tokens whose logits exist at one time; 128 to 256 keeps a 150 k vocabulary in memory. Default 256. */
  readonly chunkTokens?: number;
  /** Gemma-2's final soft cap, applied to the model's and the reference's logits. */
  readonly softCap?: number;
  /** A frozen model of the same vocabulary to stay close to. Nothing behind it gets a gradient. */
  readonly reference?: { readonly hidden: Value; readonly weight: Value };
}

/** Per-token losses `[tokens]`. */
export interface TokenLosses {
  /** Negative log-likelihood of the label. */
  readonly nll: Value;
  /** KL(reference || model) over the vocabulary; present when a reference was given. */
  readonly kl?: Value;
}

/**
 * From the last hidden states to per-token losses, in chunks, so that logits for all tokens never exist at once. Weight
 * them and sum: `reduceSum(mul(nll, weights))`.
 *
 * @param hidden `[tokens, width]`, a static number of tokens.
 * @param weight `[vocabulary, width]`: the tied embedding table or an `lm_head`, trained or frozen.
 * @param labels int64 `[tokens]`, all within the vocabulary (give tokens without a label any id and weight 0).
 */
export function vocabularyHead(
  g: Graph,
  hidden: Value,
  weight: Value,
  labels: Value,
  options: VocabularyHeadOptions = {},
): TokenLosses {
  const { chunkTokens = 256, softCap, reference } = options;
  const tokens = hidden.shape[0];
  if (hidden.shape.length !== 2 || typeof tokens !== 'number' || labels.shape[0] !== tokens)
    throw new AutodiffError(
      `vocabularyHead: hidden ${hidden.name} ${formatShape(hidden.shape)} must be [tokens, width] with a static number of ` +
        `tokens, and labels ${labels.name} ${formatShape(labels.shape)} as many`,
    );
  const saved: Record<string, Value> = {};
  const logitsOf = (states: Value, head: Value): Value => {
    const logits = g.gemm(states, head, { transB: true });
    return softCap ? capped(g, logits, softCap) : logits;
  };
  const nll: Value[] = [];
  const kl: Value[] = [];
  for (let start = 0, i = 0; start < tokens; start += chunkTokens, i++) {
    const end = Math.min(start + chunkTokens, tokens);
    const logits = logitsOf(g.slice(hidden, 0, start, end), weight);
    const logP = g.logSoftmax(logits);
    const label = g.reshape(g.slice(labels, 0, start, end), [end - start, 1]);
    nll.push(g.reshape(g.neg(g.gatherElements(logP, label, 1)), [end - start]));
    saved[`logits.${i}`] = logits;
    if (!reference) continue;
    const referenceLogits = logitsOf(g.slice(reference.hidden, 0, start, end), reference.weight);
    const q = g.softmax(referenceLogits);
    const gap = g.sub(g.logSoftmax(referenceLogits), logP);
    kl.push(g.reduceSum(g.mul(q, gap), { axes: [1] }));
    saved[`reference.${i}`] = q;
  }
  const outputs = [g.concat(nll, 0), ...(reference ? [g.concat(kl, 0)] : [])];
  g.composite({
    kind: 'VocabularyHead',
    inputs: [hidden, weight, labels],
    outputs,
    saved,
    options: { chunkTokens, softCap: softCap ?? 0 },
  });
  return reference ? { nll: outputs[0], kl: outputs[1] } : { nll: outputs[0] };
}

/**
 * dlogits = dnll (p - onehot(label)) + dkl (p - q), p = softmax(logits), q the reference's probabilities; with a soft cap
 * times 1 - (logits/cap)^2. Then dhidden = dlogits W and dW = dlogits^T hidden, accumulated inside Gemm.
 */
export const vocabularyHeadRule: Rule = (context) => {
  const { g, x, needs, options } = context;
  const [hidden, weight] = x;
  const tokens = hidden.shape[0] as number;
  const dHidden: Value[] = [];
  let dWeight: Value | null = null;
  for (let start = 0, i = 0; start < tokens; start += options.chunkTokens, i++) {
    const end = Math.min(start + options.chunkTokens, tokens);
    if (!needs[1] && !context.ds[1] && !options.softCap) {
      dHidden.push(frozenHeadGradient(context, start, end, i));
      continue;
    }
    const d = logitGradient(context, start, end, i);
    if (needs[0]) dHidden.push(g.gemm(d, weight));
    if (needs[1]) {
      const states = g.slice(hidden, 0, start, end);
      dWeight = g.gemm(d, states, { transA: true, ...(dWeight ? { c: dWeight } : {}) });
    }
  }
  return [needs[0] ? g.concat(dHidden, 0) : null, dWeight, null];
};

/** A slice of a per-token vector as a column. */
function column(g: Graph, value: Value, start: number, end: number): Value {
  return g.reshape(g.slice(value, 0, start, end), [end - start, 1]);
}

function logitGradient(
  { g, x, ds: [dNll, dKl], saved, options, c }: RuleContext,
  start: number,
  end: number,
  i: number,
): Value {
  const logits = saved[`logits.${i}`];
  const p = g.softmax(logits);
  const count = end - start;
  let d: Value | undefined;
  if (dNll) {
    const label = column(g, x[2], start, end);
    const minusOne = g.constantOfShape([count, 1], -1, p.dtype);
    d = g.mul(g.scatterElements(p, label, minusOne, 1, 'add'), column(g, dNll, start, end));
  }
  if (dKl) {
    const pull = g.mul(g.sub(p, saved[`reference.${i}`]), column(g, dKl, start, end));
    d = d ? g.add(d, pull) : pull;
  }
  if (!d) throw new AutodiffError('vocabularyHead: no gradient reached its losses');
  if (!options.softCap) return d;
  const ratio = g.mul(logits, c(1 / options.softCap));
  return g.mul(d, g.sub(c(1), g.mul(ratio, ratio)));
}

/** With a frozen head, (p - onehot) W = p W - W[label] spares a copy of the vocabulary-wide gradient. */
function frozenHeadGradient(
  { g, x: [, weight, labels], d, saved }: RuleContext,
  start: number,
  end: number,
  i: number,
): Value {
  const expected = g.matMul(g.softmax(saved[`logits.${i}`]), weight);
  const observed = g.gather(weight, g.slice(labels, 0, start, end));
  return g.mul(g.sub(expected, observed), column(g, d, start, end));
}
