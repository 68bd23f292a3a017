/** Limits of a batch. */
export interface BatchLimits {
  /** Most items; default no limit. */
  readonly maxItems?: number;
  /** Most tokens, padding to the longest item included; a single longer item is a batch alone. Default no limit. */
  readonly maxTokens?: number;
  /**
   * Ends a batch early where padding would waste more than another pass costs: once it is large enough to compute
   * efficiently and the next item is much shorter than its longest. Default false.
   */
  readonly evenLengths?: boolean;
}

/** Tokens from which a pass computes about as fast a token as a larger one. */
const efficientTokens = 1024;
/** An item this much shorter than the longest of its batch starts a new one. */
const muchShorter = 0.75;

/**
 * Splits work items into batches of similar length. The plan is a function of the lengths alone: longest first, ties in
 * the order given, so that the same request is always computed the same way.
 * @param lengths tokens of each item
 * @returns batches of indices into `lengths`
 */
export function planBatches(lengths: readonly number[], limits: BatchLimits): number[][] {
  const { maxItems = Infinity, maxTokens = Infinity, evenLengths = false } = limits;
  const order = lengths.map((_, index) => index).sort((a, b) => lengths[b] - lengths[a] || a - b);
  const batches: number[][] = [];
  let batch: number[] = [];
  const isFull = (next: number): boolean => {
    const longest = lengths[batch[0]];
    if (batch.length === maxItems || (batch.length + 1) * longest > maxTokens) return true;
    return evenLengths && batch.length * longest >= efficientTokens && next < muchShorter * longest;
  };
  for (const index of order) {
    if (batch.length > 0 && isFull(lengths[index])) {
      batches.push(batch);
      batch = [];
    }
    batch.push(index);
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}

/** The smallest multiple of `step` that is at least `value`. */
export function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}
