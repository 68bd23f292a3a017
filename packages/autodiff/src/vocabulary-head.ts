import type { Dim, Graph, Value } from '@parley/graph';
import { formatShape } from '@parley/graph';
import { AutodiffError } from './autodiff-error.js';
import type { Rule, RuleContext } from './rule.js';
import { softCap as capped } from './soft-cap.js';

/** Options of {@link vocabularyHead}. */
export interface VocabularyHeadOptions {
  /**
   * Tokens whose logits exist at one time; 128 to 256 keeps a 150 k vocabulary in memory. Default 256. A symbolic number
   * of tokens is one chunk, whatever this says.
   */
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
 * @param hidden `[tokens, width]`.
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
  if (hidden.shape.length !== 2 || labels.shape[0] !== tokens)
    throw new AutodiffError(
      `vocabularyHead: hidden ${hidden.name} ${formatShape(hidden.shape)} must be [tokens, width], and labels ` +
        `${labels.name} ${formatShape(labels.shape)} as many`,
    );
  const saved: Record<string, Value> = {};
  const logitsOf = (states: Value, head: Value): Value => {
    const logits = g.gemm(states, head, { transB: true });
    return softCap ? capped(g, logits, softCap) : logits;
  };
  const nll: Value[] = [];
  const kl: Value[] = [];
  for (const [i, chunk] of chunksOf(g, tokens, chunkTokens).entries()) {
    const logits = logitsOf(chunk.of(hidden), weight);
    const logP = g.logSoftmax(logits);
    saved[`logits.${i}`] = logits;
    const label = g.reshape(chunk.of(labels), [chunk.tokens, 1]);
    saved[`nll.${i}`] = g.reshape(g.neg(g.gatherElements(logP, label, 1)), [chunk.tokens]);
    nll.push(saved[`nll.${i}`]);
    if (!reference) continue;
    const referenceLogits = logitsOf(chunk.of(reference.hidden), reference.weight);
    const q = g.softmax(referenceLogits);
    const gap = g.sub(g.logSoftmax(referenceLogits), logP);
    saved[`reference.${i}`] = q;
    saved[`kl.${i}`] = g.reduceSum(g.mul(q, gap), { axes: [1] });
    kl.push(saved[`kl.${i}`]);
  }
  const outputs = [joined(g, nll), ...(reference ? [joined(g, kl)] : [])];
  g.composite({
    kind: 'VocabularyHead',
    inputs: [hidden, weight, labels],
    outputs,
    saved,
    options: { chunkTokens, softCap: softCap ?? 0 },
  });
  return reference ? { nll: outputs[0], kl: outputs[1] } : { nll: outputs[0] };
}

/** A range of tokens. */
interface Chunk {
  readonly tokens: Dim;
  /** The range's part of a value `[tokens, …]`. */
  readonly of: (value: Value) => Value;
}

/** Ranges of `chunkTokens` tokens, the last one shorter; one of all tokens if they are few or their number a symbol. */
function chunksOf(g: Graph, tokens: Dim, chunkTokens: number): Chunk[] {
  if (typeof tokens === 'string' || tokens <= chunkTokens) return [{ tokens, of: (value) => value }];
  return Array.from({ length: Math.ceil(tokens / chunkTokens) }, (_, i) => {
    const start = i * chunkTokens;
    const end = Math.min(start + chunkTokens, tokens);
    return { tokens: end - start, of: (value) => g.slice(value, 0, start, end) };
  });
}

/**
 * dlogits = dnll (p - onehot(label)) + dkl (p - q), p = softmax(logits), q the reference's probabilities; with a soft cap
 * times 1 - (logits/cap)^2. Then dhidden = dlogits W and dW = dlogits^T hidden, accumulated inside Gemm.
 */
export const vocabularyHeadRule: Rule = (context) => {
  const { g, x, needs, options } = context;
  const [hidden, weight] = x;
  const chunks = chunksOf(g, hidden.shape[0], options.chunkTokens);
  const ds = chunks.map((chunk, i) => logitGradient(context, chunk, i));
  const dWeight = (soFar: Value | undefined): Value =>
    chunks.reduce<Value | undefined>(
      (sum, chunk, i) => g.gemm(ds[i], chunk.of(hidden), { transA: true, ...(sum ? { c: sum } : {}) }),
      soFar,
    )!;
  const dHidden = needs[0] ? ds.map((d) => g.gemm(d, weight)) : [];
  return [needs[0] ? joined(g, dHidden) : null, dWeight, null];
};

function joined(g: Graph, parts: readonly Value[]): Value {
  return parts.length === 1 ? parts[0] : g.concat(parts, 0);
}

/**
 * A chunk of a per-token gradient as a column. Adding 0 * loss makes the gradient wait for the loss: left free,
 * onnxruntime computes all losses last and keeps every chunk's logits until then.
 */
function column(g: Graph, gradient: Value, loss: Value, chunk: Chunk): Value {
  return g.reshape(g.add(chunk.of(gradient), g.mul(loss, g.scalar(0))), [chunk.tokens, 1]);
}

function logitGradient(context: RuleContext, chunk: Chunk, i: number): Value {
  const { g, x, ds, saved, options, c } = context;
  const [dNll, dKl] = ds;
  const logits = saved[`logits.${i}`];
  const p = g.softmax(logits);
  let d: Value | undefined;
  if (dNll) {
    const label = g.reshape(chunk.of(x[2]), [chunk.tokens, 1]);
    const minusOne = g.constantOfShape([chunk.tokens, 1], -1);
    const miss = g.scatterElements(p, label, minusOne, 1, 'add');
    d = g.mul(miss, column(g, dNll, saved[`nll.${i}`], chunk));
  }
  if (dKl) {
    const pull = g.mul(g.sub(p, saved[`reference.${i}`]), column(g, dKl, saved[`kl.${i}`], chunk));
    d = d ? g.add(d, pull) : pull;
  }
  if (!d) throw new AutodiffError('vocabularyHead: no gradient reached its losses');
  if (!options.softCap) return d;
  const ratio = g.mul(logits, c(1 / options.softCap));
  return g.mul(d, g.sub(c(1), g.mul(ratio, ratio)));
}
