/** Tokens from the likeliest to the least likely, ties by id. */
export interface TokenRanking {
  /** How many tokens are ranked; a list of candidates ranks fewer than the vocabulary. */
  readonly length: number;
  /** The token at a rank, from 0. */
  token(rank: number): number;
  /** Its logit. */
  logit(rank: number): number;
}

/** How far below the largest logit tokens are told apart before they are sorted, in nats. */
const bucketedNats = 64;
/** Tokens that share a bucket where logits spread over a few nats, roughly. */
const tokensPerBucket = 64;

/**
 * Ranks a row of logits: exactly, but sorted only as far as it is read, since a draw mostly needs a few tokens of a
 * wide vocabulary. One pass puts every token into a bucket by its distance from the largest; a bucket is sorted when
 * it is reached.
 */
export function rankLogits(logits: Float32Array): TokenRanking {
  const size = logits.length;
  const bucketsPerNat = Math.ceil(size / (8 * tokensPerBucket));
  const lastBucket = bucketedNats * bucketsPerNat;
  let max = -Infinity;
  for (let token = 0; token < size; token++) if (logits[token] > max) max = logits[token];
  const buckets = new Uint32Array(size);
  const ends = new Uint32Array(lastBucket + 1);
  for (let token = 0; token < size; token++) {
    const bucket = Math.min(lastBucket, (max - logits[token]) * bucketsPerNat) | 0;
    buckets[token] = bucket;
    ends[bucket]++;
  }
  for (let bucket = 1; bucket <= lastBucket; bucket++) ends[bucket] += ends[bucket - 1];
  const order = new Uint32Array(size);
  const starts = ends.slice();
  for (let token = size - 1; token >= 0; token--) order[--starts[buckets[token]]] = token;
  let sorted = 0;
  let nextBucket = 0;
  const token = (rank: number): number => {
    for (; sorted <= rank; sorted = ends[nextBucket++]) {
      const end = ends[nextBucket];
      if (end - sorted > 1) order.subarray(sorted, end).sort((a, b) => logits[b] - logits[a] || a - b);
    }
    return order[rank];
  };
  return { length: size, token, logit: (rank) => logits[token(rank)] };
}

/** The first `count` tokens of a ranking of logits, without the ranking: quicker for a few. */
export function likeliestFew(logits: Float32Array, count: number): number[] {
  const few: number[] = [];
  for (let token = 0; token < logits.length; token++) {
    if (few.length === count && !(logits[token] > logits[few[count - 1]])) continue;
    if (few.length === count) few.pop();
    let rank = few.length;
    while (rank > 0 && logits[token] > logits[few[rank - 1]]) rank--;
    few.splice(rank, 0, token);
  }
  return few;
}
