import { createTensor } from '@parley/graph';
import type { Tensor } from '@parley/graph';
import type { TrainSequence } from './language-model.js';
import { int64Tensor } from './pass-runner.js';
import { targetRows } from './scorer.js';
import type { CausalSequence } from './scorer.js';

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

/** What the training graph is fed about targets; rows beyond the real ones have weight 0. */
export interface TargetFeeds {
  readonly crossEntropy: Float32Array;
  readonly divergence: Float32Array;
  readonly feeds: Readonly<Record<string, Tensor>>;
}

/**
 * @param paddedTokens length of the batch's padded rows
 * @param rows padded number of targets
 * @param anchored whether the graph has a KL term
 */
export function targetFeeds(
  batch: readonly WeightedSequence[],
  paddedTokens: number,
  rows: number,
  anchored: boolean,
): TargetFeeds {
  const chosen = targetRows(batch, paddedTokens);
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
  return {
    crossEntropy,
    divergence,
    feeds: {
      rows: int64Tensor(index, [rows]),
      place: int64Tensor(place, [place.length]),
      labels: int64Tensor(labels, [rows]),
      'weight.crossEntropy': createTensor('float32', [rows], crossEntropy),
      ...(anchored ? { 'weight.divergence': createTensor('float32', [rows], divergence) } : {}),
    },
  };
}
