/** Added to the score of a pair that must not attend: large enough that its probability underflows to zero. */
export const maskedScore = -1e9;

/**
 * Additive mask [length, length] of a causal pass: query i sees keys j with i − window < j ≤ i. Sequences are padded on
 * the right, where causality alone hides the padding from every real token.
 * @param window number of latest positions seen, the query's own included; null for all
 */
export function causalMask(length: number, window: number | null): Float32Array {
  const mask = new Float32Array(length * length).fill(maskedScore);
  for (let i = 0; i < length; i++) {
    const first = window === null ? 0 : Math.max(0, i - window + 1);
    mask.fill(0, i * length + first, i * length + i + 1);
  }
  return mask;
}

/**
 * Fills one row [cacheLength] of the mask of a decoding step: a query at `position` sees cached positions before its
 * own, within the window; its own key and value are not in the cache yet.
 */
export function fillDecodeMask(row: Float32Array, position: number, window: number | null): void {
  const first = window === null ? 0 : Math.max(0, position - window + 1);
  row.fill(maskedScore);
  row.fill(0, Math.min(first, row.length), Math.min(position, row.length));
}
