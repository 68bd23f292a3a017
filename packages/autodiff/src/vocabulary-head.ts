import type { Graph, Value } from '@parley/graph';
import { formatShape } from '@parley/graph';
import { after } from './after.js';
import { AutodiffError } from './autodiff-error.js';
import type { Rule } from './rule.js';
import { softCap as capped } from './soft-cap.js';

/** Options of {@link vocabularyHead}. */
export interface VocabularyHeadOptions {
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
 * From the last hidden states to per-token losses. Two tensors `[tokens, vocabulary]` exist at one time: where that is too
 * much, call it once for every few tokens, each time with `hidden` made {@link after} the gradients of the time before. Weight
 * the losses and sum: `reduceSum(mul(nll, weights))`.
 *
 * @param hidden `[tokens, width]`.
 * @param weight `[vocabulary, width]`: the tied embedding table or an `lm_head`, trained or frozen.
 * @param labels int64 `[tokens]`, all within the vocabulary (give tokens without a label any id and weight 0).
 */
export function vocabularyHead(
  g: Graph,
  hidden: Value,
  weight: Value,
  labels: Value,
  { softCap, reference }: VocabularyHeadOptions = {},
): TokenLosses {
  const [tokens] = hidden.shape;
  if (hidden.shape.length !== 2 || labels.shape[0] !== tokens)
    throw new AutodiffError(
      `vocabularyHead: hidden ${hidden.name} ${formatShape(hidden.shape)} must be [tokens, width], and labels ` +
        `${labels.name} ${formatShape(labels.shape)} as many`,
    );
  const logitsOf = (states: Value, head: Value): Value => {
    const raw = g.gemm(states, head, { transB: true });
    return softCap ? capped(g, raw, softCap) : raw;
  };
  const logits = logitsOf(hidden, weight);
  const p = g.softmax(logits);
  const logSum = logSumOf(g, logits, p);
  const column = g.reshape(labels, [tokens, 1]);
  const nll = g.reshape(g.sub(logSum, g.gatherElements(logits, column, 1)), [tokens]);
  const saved: Record<string, Value> = softCap ? { logits, p } : { p };
  const outputs = [nll];
  if (reference) {
    const theirs = logitsOf(reference.hidden, reference.weight);
    const q = g.softmax(theirs);
    saved.q = q;
    const gap = g.reduceSum(g.mul(q, g.sub(theirs, logits)), { axes: [1], keepDims: true });
    outputs.push(g.reshape(g.add(gap, g.sub(logSum, logSumOf(g, theirs, q))), [tokens]));
  }
  const options = { softCap: softCap ?? 0 };
  g.composite({ kind: 'VocabularyHead', inputs: [hidden, weight, labels], outputs, saved, options });
  return { nll, ...(reference ? { kl: outputs[1] } : {}) };
}

/**
 * log sum exp of each row `[tokens, 1]`, from its largest element and that one's probability: the softmax is needed anyway, and
 * a log-softmax would be a third tensor as wide.
 */
function logSumOf(g: Graph, logits: Value, probabilities: Value): Value {
  const largest = (x: Value): Value => g.reduceMax(x, { axes: [1], keepDims: true });
  return g.sub(largest(logits), g.log(largest(probabilities)));
}

/**
 * dlogits = dnll (p - onehot(label)) + dkl (p - q), p = softmax(logits), q the reference's probabilities; with a soft cap
 * times 1 - (logits/cap)^2. Then dhidden = dlogits W and dW = dlogits^T hidden. Without KL, the factor dnll of a row is
 * applied to the narrow sides of these products.
 */
export const vocabularyHeadRule: Rule = ({ g, x, y, ds, needs, saved: { p, q, logits }, options, c }) => {
  const [hidden, weight, labels] = x;
  const [dNll, dKl] = ds;
  const asColumn = (values: Value): Value => g.reshape(values, [values.shape[0], 1]);
  if (!dNll && !dKl) throw new AutodiffError('vocabularyHead: no gradient reached its losses');
  // Replacing the labels' elements in place waits for whatever else reads the probabilities.
  const late = after(g, p, y);
  const label = asColumn(labels);
  const miss = (): Value => g.scatterElements(late, label, g.constantOfShape(label.shape, -1), 1, 'add');
  let wide: Value;
  if (dKl) {
    const pull = g.mul(g.sub(p, q), asColumn(dKl));
    wide = dNll ? g.add(g.mul(miss(), asColumn(dNll)), pull) : pull;
  } else wide = miss();
  if (options.softCap) {
    const ratio = g.mul(logits, c(1 / options.softCap));
    wide = g.mul(wide, g.sub(c(1), g.mul(ratio, ratio)));
  }
  const scaled = (narrow: Value): Value => (dKl ? narrow : g.mul(narrow, asColumn(dNll!)));
  return [
    needs[0] ? scaled(g.gemm(wide, weight)) : null,
    needs[1]
      ? (soFar) => g.gemm(wide, scaled(hidden), { transA: true, ...(soFar ? { c: soFar } : {}) })
      : null,
    null,
  ];
};
