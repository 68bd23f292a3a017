/**
 * Splits work items into batches of similar length. The plan is a function of the lengths alone: longest first, ties in
 * the order given, so that the same request is always computed the same way.
 * @param lengths tokens of each item
 * @param maxItems most items of a batch
 * @param maxTokens most tokens of a batch, padding to its longest item included; a single longer item is a batch alone
 * @returns batches of indices into `lengths`
 */
export function planBatches(lengths: readonly number[], maxItems: number, maxTokens: number): number[][] {
  const order = lengths.map((_, index) => index).sort((a, b) => lengths[b] - lengths[a] || a - b);
  const batches: number[][] = [];
  let batch: number[] = [];
  for (const index of order) {
    const longest = batch.length > 0 ? lengths[batch[0]] : lengths[index];
    if (batch.length > 0 && (batch.length === maxItems || (batch.length + 1) * longest > maxTokens)) {
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
