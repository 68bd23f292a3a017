import { createTensor } from '@parley/graph';
import type { Tensor } from '@parley/graph';
import type { TrainSequence } from './language-model.js';
import { int64Tensor } from './pass-runner.js';
import { targetRows } from './scorer.js';
import type { CausalSequence } from './scorer.js';
import { chunkName } from './training-graph.js';

/** One sequence with the factors of its tokens' losses, the division by N and by its length already made. */
export interface WeightedSequence extends CausalSequence {
  /** Factor of each target token's cross-entropy: wᵢ · τₜ / Στ / N. */
  readonly crossEntropy: Float64Array;
  /** Factor of each target token's KL(reference ‖ model): aᵢ / length / N. */
  readonly divergence: number;
}

/** Factors of one sequence of a batch of `count`. */
export function weighSequence(
  sequence: CausalSequence,
  source: TrainSequence,
  count: number,
): WeightedSequence {
  const tokens = source.target.length;
  const { tokenWeights, weight, anchorWeight = 0 } = source;
  const total = tokenWeights ? tokenWeights.reduce((a, b) => a + b, 0) : tokens;
  const crossEntropy = Float64Array.from(
    source.target,
    (_, i) => ((tokenWeights?.[i] ?? 1) * weight) / total / count,
  );
  return { ...sequence, crossEntropy, divergence: anchorWeight / tokens / count };
}

/** What the training graph is fed about targets, chunk by chunk; rows beyond the real ones have weight 0. */
export interface TargetFeeds {
  /** Rows of a chunk. */
  readonly chunkRows: number;
  /** Of all chunks, one after another. */
  readonly crossEntropy: Float32Array;
  readonly divergence: Float32Array;
  readonly feeds: Readonly<Record<string, Tensor>>;
}

/**
 * @param paddedTokens length of the batch's padded rows
 * @param chunks parts that the loss is computed in
 * @param anchored whether the graph has a KL term
 */
export function targetFeeds(
  batch: readonly WeightedSequence[],
  paddedTokens: number,
  chunks: number,
  anchored: boolean,
): TargetFeeds {
  const chosen = targetRows(batch, paddedTokens);
  const chunkRows = Math.ceil(chosen.length / chunks);
  const rows = chunks * chunkRows;
  const labels = new Float64Array(rows);
  const crossEntropy = new Float32Array(rows);
  const divergence = new Float32Array(rows);
  const index = new Float64Array(rows);
  // Rows that predict no target take the gradient of an extra row of zeros.
  const place = new Float64Array(batch.length * paddedTokens).fill(rows);
  let at = 0;
  for (const sequence of batch) {
    sequence.target.forEach((label, i) => {
      labels[at] = label;
      crossEntropy[at] = sequence.crossEntropy[i]!;
      divergence[at] = sequence.divergence;
      index[at] = chosen[at]!;
      place[chosen[at]] = at;
      at++;
    });
  }
  const feeds: Record<string, Tensor> = { place: int64Tensor(place, [place.length]) };
  for (let chunk = 0; chunk < chunks; chunk++) {
    const [from, to] = [chunk * chunkRows, (chunk + 1) * chunkRows];
    const floats = (all: Float32Array): Tensor =>
      createTensor('float32', [chunkRows], all.subarray(from, to));
    feeds[chunkName('rows', chunk)] = int64Tensor(index.subarray(from, to), [chunkRows]);
    feeds[chunkName('labels', chunk)] = int64Tensor(labels.subarray(from, to), [chunkRows]);
    feeds[chunkName('weight.crossEntropy', chunk)] = floats(crossEntropy);
    if (anchored) feeds[chunkName('weight.divergence', chunk)] = floats(divergence);
  }
  return { chunkRows, crossEntropy, divergence, feeds };
}
