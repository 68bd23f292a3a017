import { mean } from './numbers.js';

/** Log-likelihoods of one aggregate a under one scorer q, both over the same tokens of a. */
export interface SpanScore {
  /** log q(a | x, r): the question and the peer's own response in context. Nats, summed over tokens. */
  readonly conditional: number;
  /** log q(a | x): the question alone. */
  readonly marginal: number;
  /** Tokens of a under q. */
  readonly tokens: number;
}

/**
 * Pointwise mutual information of a peer's response and the aggregate, a token [paper, 1.3]:
 *
 *     nPMI = (log q(a | x, r) − log q(a | x)) / |a|
 *
 * High: the response already said it. Low or negative: the response pointed elsewhere, and the weight is high.
 * Null where it is undefined, and only there: no tokens, NaN, a likelihood above 1 is the caller's business,
 * and −∞ − (−∞). One infinite side gives ±∞, which every weight function maps into its bounds.
 */
export function normalizedPmi(score: SpanScore): number | null {
  if (!(score.tokens > 0) || !Number.isFinite(score.tokens)) return null;
  const difference = score.conditional - score.marginal;
  return Number.isNaN(difference) ? null : difference / score.tokens;
}

/**
 * nPMI under several scorers at once (`mean-of-peers`): the mean of the finite values, each per token of its own
 * tokenizer; null when there is none. Permutation invariant.
 */
export function combinePmi(values: readonly (number | null)[]): number | null {
  const finite = values.filter((value) => value !== null && Number.isFinite(value)) as number[];
  return finite.length === 0 ? null : mean(finite);
}
