import type { Graph, Value } from '@parley/graph';
import { formatShape } from '@parley/graph';
import { after } from './after.js';
import { AutodiffError } from './autodiff-error.js';
import { isQuantized, quantizedGradient, quantizedParts, timesQuantized } from './quantized-matrix.js';
import type { QuantizedMatrix } from './quantized-matrix.js';
import type { Rule } from './rule.js';
import { softCap as capped } from './soft-cap.js';

/** Options of {@link vocabularyHead}. */
export interface VocabularyHeadOptions {
  /** Gemma-2's final soft cap, applied to the model's and the reference's logits. */
  readonly softCap?: number;
  /** A frozen model of the same vocabulary to stay close to. Nothing behind it gets a gradient. */
  readonly reference?: { readonly hidden: Value; readonly weight: Value | QuantizedMatrix };
  /** Elements of a matrix in 8 bits that are made float32 at one time. Default 2^23 (32 MiB). */
  readonly maxFloats?: number;
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
 * @param weight `[vocabulary, width]`: the tied embedding table or an `lm_head`, trained or frozen; frozen if in 8 bits.
 * @param labels int64 `[tokens]`, all within the vocabulary (give tokens without a label any id and weight 0).
 */
export function vocabularyHead(
  g: Graph,
  hidden: Value,
  weight: Value | QuantizedMatrix,
  labels: Value,
  { softCap, reference, maxFloats = 2 ** 23 }: VocabularyHeadOptions = {},
): TokenLosses {
  const [tokens] = hidden.shape;
  if (hidden.shape.length !== 2 || labels.shape[0] !== tokens)
    throw new AutodiffError(
      `vocabularyHead: hidden ${hidden.name} ${formatShape(hidden.shape)} must be [tokens, width], and labels ` +
        `${labels.name} ${formatShape(labels.shape)} as many`,
    );
  const logitsOf = (states: Value, head: Value | QuantizedMatrix): Value => {
    const raw = isQuantized(head)
      ? wideProduct(g, states, head, maxFloats)
      : g.gemm(states, head, { transB: true });
    return softCap ? capped(g, raw, softCap) : raw;
  };
  const logits = logitsOf(hidden, weight);
  const p = g.softmax(logits);
  const logSum = logSumOf(g, logits, p);
  const column = g.reshape(labels, [tokens, 1]);
  const nll = g.reshape(g.sub(logSum, g.gatherElements(logits, column, 1)), [tokens]);
  const quantized = isQuantized(weight) ? weight : undefined;
  const saved: Record<string, Value> = { p, ...(softCap ? { logits } : {}), ...quantized };
  const outputs = [nll];
  if (reference) {
    const theirs = logitsOf(reference.hidden, reference.weight);
    const q = g.softmax(theirs);
    saved.q = q;
    const gap = g.reduceSum(g.mul(q, g.sub(theirs, logits)), { axes: [1], keepDims: true });
    outputs.push(g.reshape(g.add(gap, g.sub(logSum, logSumOf(g, theirs, q))), [tokens]));
  }
  const options = { softCap: softCap ?? 0, maxFloats };
  const inputs = [hidden, isQuantized(weight) ? null : weight, labels];
  g.composite({ kind: 'VocabularyHead', inputs, outputs, saved, options });
  return { nll, ...(reference ? { kl: outputs[1] } : {}) };
}

/** `x w^T`, part by part. */
function wideProduct(g: Graph, x: Value, weight: QuantizedMatrix, maxFloats: number): Value {
  return g.concat(
    quantizedParts(g, weight, x, maxFloats).map(({ part }) => timesQuantized(g, x, part)),
    1,
  );
}

/** `d w`, part by part. */
function wideGradient(g: Graph, d: Value, weight: QuantizedMatrix, maxFloats: number): Value {
  return quantizedParts(g, weight, d, maxFloats).reduce<Value | undefined>(
    (sum, { start, end, part }) => quantizedGradient(g, g.slice(d, 1, start, end), part, sum),
    undefined,
  )!;
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
export const vocabularyHeadRule: Rule = ({ g, x, y, ds, needs, saved, options, c }) => {
  const [hidden, weight, labels] = x as readonly [Value, Value | null, Value];
  const { p, q, logits, values, scales } = saved;
  const [dNll, dKl] = ds;
  const asColumn = (values: Value): Value => g.reshape(values, [values.shape[0], 1]);
  if (!dNll && !dKl) throw new AutodiffError('vocabularyHead: no gradient reached its losses');
  const label = asColumn(labels);
  // Replacing the labels' elements in place waits for whatever else reads the probabilities.
  const minusOne = after(g, g.constantOfShape(label.shape, -1), y);
  const miss = (): Value => g.scatterElements(p, label, minusOne, 1, 'add');
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
    needs[0]
      ? scaled(weight ? g.gemm(wide, weight) : wideGradient(g, wide, { values, scales }, options.maxFloats))
      : null,
    needs[1]
      ? (soFar) => g.gemm(wide, scaled(hidden), { transA: true, ...(soFar ? { c: soFar } : {}) })
      : null,
    null,
  ];
};
