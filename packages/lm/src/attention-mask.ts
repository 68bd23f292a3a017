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
 * Additive mask [rows, tokens, tokens + capacity] of new tokens that begin at each row's `start`, over themselves and then over cached
 * positions: token t sees the `start` positions before it and new ones up to itself, within the window. Cached positions from `start`
 * on are unused capacity.
 */
export function extendMask(
  starts: readonly number[],
  tokens: number,
  capacity: number,
  window: number | null,
): Float32Array {
  const width = tokens + capacity;
  const mask = new Float32Array(starts.length * tokens * width).fill(maskedScore);
  starts.forEach((start, row) => {
    for (let t = 0; t < tokens; t++) {
      const first = window === null ? 0 : Math.max(0, start + t - window + 1);
      const from = (row * tokens + t) * width;
      mask.fill(0, from + Math.max(0, first - start), from + t + 1);
      if (first < start) mask.fill(0, from + tokens + first, from + tokens + start);
    }
  });
  return mask;
}
