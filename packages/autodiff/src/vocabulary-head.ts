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
    saved[`logits.${i}`] = logits;
    saved[`nll.${i}`] = g.reshape(g.neg(g.gatherElements(logP, label, 1)), [end - start]);
    nll.push(saved[`nll.${i}`]);
    if (!reference) continue;
    const referenceLogits = logitsOf(g.slice(reference.hidden, 0, start, end), reference.weight);
    const q = g.softmax(referenceLogits);
    const gap = g.sub(g.logSoftmax(referenceLogits), logP);
    saved[`reference.${i}`] = q;
    saved[`kl.${i}`] = g.reduceSum(g.mul(q, gap), { axes: [1] });
    kl.push(saved[`kl.${i}`]);
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
    const d = logitGradient(context, start, end, i);
    if (needs[0]) dHidden.push(g.gemm(d, weight));
    if (needs[1]) {
      const states = g.slice(hidden, 0, start, end);
      dWeight = g.gemm(d, states, { transA: true, ...(dWeight ? { c: dWeight } : {}) });
    }
  }
  return [needs[0] ? g.concat(dHidden, 0) : null, dWeight, null];
};

/**
 * A chunk of a per-token gradient as a column. Adding 0 * loss makes the gradient wait for the loss: left free,
 * onnxruntime computes all losses last and keeps every chunk's logits until then.
 */
function column(g: Graph, gradient: Value, loss: Value, start: number, end: number): Value {
  const part = g.slice(gradient, 0, start, end);
  return g.reshape(g.add(part, g.mul(loss, g.scalar(0))), [end - start, 1]);
}

function logitGradient(context: RuleContext, start: number, end: number, i: number): Value {
  const { g, x, ds, saved, options, c } = context;
  const [dNll, dKl] = ds;
  const logits = saved[`logits.${i}`];
  const p = g.softmax(logits);
  let d: Value | undefined;
  if (dNll) {
    const label = g.reshape(g.slice(x[2], 0, start, end), [end - start, 1]);
    const minusOne = g.constantOfShape([end - start, 1], -1);
    const miss = g.scatterElements(p, label, minusOne, 1, 'add');
    d = g.mul(miss, column(g, dNll, saved[`nll.${i}`], start, end));
  }
  if (dKl) {
    const pull = g.mul(g.sub(p, saved[`reference.${i}`]), column(g, dKl, saved[`kl.${i}`], start, end));
    d = d ? g.add(d, pull) : pull;
  }
  if (!d) throw new AutodiffError('vocabularyHead: no gradient reached its losses');
  if (!options.softCap) return d;
  const ratio = g.mul(logits, c(1 / options.softCap));
  return g.mul(d, g.sub(c(1), g.mul(ratio, ratio)));
}
