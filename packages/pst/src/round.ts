/**
 * One peer's answer to one question of a round. Text is what travels between peers: their tokenizers differ.
 */
export interface PeerResponse {
  readonly peer: string;
  readonly text: string;
  /**
   * Final answer in canonical form, or null when none was found. Two answers agree when these strings are
   * equal, so whoever extracts them decides what equality means.
   */
  readonly answer: string | null;
  /** Σ log p(token) of the response, its end included, under the peer and the context it answered in. */
  readonly logLikelihood: number;
  /** Number of tokens behind `logLikelihood`. */
  readonly tokens: number;
  /** False when the token limit cut the response off; such a text is never a target. */
  readonly finished: boolean;
  /** The peers whose answers this one had seen; empty for an independent answer. */
  readonly saw: readonly string[];
  /** Where this answer saw others: the final answer the same peer gave alone, if the recipe asked for one. */
  readonly independentAnswer?: string | null;
}

/** What one peer gives every response of a question: log p(response | question), without other answers. */
export interface LikelihoodRow {
  readonly peer: string;
  /** One per response, in the order of the question's responses; null where scoring failed. */
  readonly logLikelihoods: readonly (number | null)[];
}

/** A question with the answers that arrived, in the order in which they were given. */
export interface AnsweredQuestion {
  readonly promptId: string;
  readonly text: string;
  /** At most one per peer. A peer that failed is absent, never an empty response. */
  readonly responses: readonly PeerResponse[];
  /** Cross-peer likelihoods; required by the `trust` strategy, ignored by the others. */
  readonly likelihoods?: readonly LikelihoodRow[];
}

/** Why a question makes no update. */
export type RejectionReason =
  'no-answer' | 'below-margin' | 'unfinished' | 'agreement-gate' | 'no-independent-support';

/** The target made of one question's answers. */
export interface Aggregate {
  readonly promptId: string;
  /** The answer the peers converged on, or null when no response had one. */
  readonly answer: string | null;
  /** Index into the question's responses of the text that stands for the aggregate. */
  readonly chosen: number | null;
  /** Confidence in [0, 1]; the meaning is the strategy's (see {@link aggregateRound}). */
  readonly margin: number;
  /** True when the question may train the peers. */
  readonly accepted: boolean;
  /** Set exactly when `accepted` is false. */
  readonly reason: RejectionReason | null;
}
