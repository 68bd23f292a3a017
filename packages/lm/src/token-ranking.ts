/** Tokens from the likeliest to the least likely, ties by id. */
export interface TokenRanking {
  /** How many tokens are ranked; a list of candidates ranks fewer than the vocabulary. */
  readonly length: number;
  /** The token at a rank, from 0. */
  token(rank: number): number;
  /** Its logit. */
  logit(rank: number): number;
}

/** Buckets for each nat below the largest logit, and how many of them; the last takes all that is further below. */
const bucketsPerNat = 16;
const bucketCount = 1024;

/**
 * Ranks a row of logits: exactly, but sorted only as far as it is read, since a draw mostly needs a few tokens of a
 * wide vocabulary. One pass puts every token into a bucket by its distance from the largest; a bucket is sorted when
 * it is reached.
 */
export function rankLogits(logits: Float32Array): TokenRanking {
  const max = largestOf(logits);
  const bucketOf = (logit: number): number =>
    Math.min(bucketCount - 1, Math.floor((max - logit) * bucketsPerNat)) | 0;
  const ends = new Uint32Array(bucketCount);
  for (const logit of logits) ends[bucketOf(logit)]++;
  for (let bucket = 1; bucket < bucketCount; bucket++) ends[bucket] += ends[bucket - 1];
  const order = new Uint32Array(logits.length);
  const starts = ends.slice();
  for (let token = logits.length - 1; token >= 0; token--) order[--starts[bucketOf(logits[token])]] = token;
  let sorted = 0;
  let nextBucket = 0;
  const token = (rank: number): number => {
    while (sorted <= rank) {
      order.subarray(sorted, ends[nextBucket]).sort((a, b) => logits[b] - logits[a] || a - b);
      sorted = ends[nextBucket++];
    }
    return order[rank];
  };
  return { length: logits.length, token, logit: (rank) => logits[token(rank)] };
}

function largestOf(logits: Float32Array): number {
  let max = -Infinity;
  for (const logit of logits) if (logit > max) max = logit;
  return max;
}
