import { clip, mean, median, sigmoid } from './numbers.js';
import type { Random } from './random.js';
import type { WeightRecipe } from './recipe.js';

/** One answer to be weighed. */
export interface WeighedAnswer {
  /** nPMI of the peer's own response with the aggregate, nats per token; null where undefined. */
  readonly pmi: number | null;
  /** True when the peer's final answer differs from the aggregate's (or it has none). */
  readonly disagrees: boolean;
  /** True when the aggregate is this very response, so that its PMI is degenerate. */
  readonly author: boolean;
}

/** What a batch of one peer is weighed with besides its own numbers. */
export interface WeightContext {
  /** Batch medians of earlier rounds, oldest first; used by baseline `running-median`. */
  readonly recentMedians?: readonly number[];
  /** Source of the permutation of ablation `shuffled`; required by it alone. */
  readonly random?: Random;
}

/** The weights of one peer's batch. */
export interface WeightedBatch {
  /** One per answer; always finite and within [min, max], except that a skipped author has null. */
  readonly weights: readonly (number | null)[];
  /** b, what was subtracted from each nPMI. */
  readonly baseline: number;
  /** To hand to the next round as `recentMedians`. */
  readonly recentMedians: readonly number[];
}

const RUNNING_WINDOW = 16;
/** Below this mean a batch is not scaled: it has no weight to speak of. */
const MIN_MEAN = 1e-6;

/**
 * Turns one peer's batch of nPMI into weights [1.4]. The rule, in this order:
 *
 * 1. raw weight of each answer: sigmoid(−(nPMI − b)/τ), exp(−β(nPMI − b)), 1, or 1 where the answers differ
 *    else 0; `reversed` turns the sign (or swaps 1 and 0); a null or NaN nPMI counts as nPMI = b;
 * 2. clip to [min, max];
 * 3. if `normalize`: divide by the batch mean (unless that is under 1e-6) and clip again, so that the mean is
 *    1 except for what the bounds cut off;
 * 4. `shuffled` permutes the result;
 * 5. an author gets the neutral weight 1 (clipped), its weight, or null, as `author` says. Authors with a neutral
 *    or no weight take no part in 1–4 nor in the median, whose PMI they would distort.
 *
 * Kinds `uniform` and `disagree` do not look at PMI, so that authors are weighed like the others.
 */
export function weighBatch(
  recipe: WeightRecipe,
  answers: readonly WeighedAnswer[],
  context: WeightContext = {},
): WeightedBatch {
  const usesPmi = recipe.kind === 'sigmoid' || recipe.kind === 'exponential';
  const apart = (answer: WeighedAnswer): boolean =>
    answer.author && (recipe.author === 'skip' || (usesPmi && recipe.author === 'neutral'));
  const batch = answers.filter((answer) => !apart(answer));
  const { baseline, recentMedians } = baselineOf(recipe, batch, context.recentMedians ?? []);

  const clipped = batch.map((answer) => clip(rawWeight(recipe, answer, baseline), recipe.min, recipe.max));
  const level = mean(clipped);
  const scaled =
    recipe.normalize && level >= MIN_MEAN
      ? clipped.map((weight) => clip(weight / level, recipe.min, recipe.max))
      : clipped;
  const ready = recipe.ablation === 'shuffled' ? shuffled(scaled, context.random) : scaled;

  const alone = recipe.author === 'skip' ? null : clip(1, recipe.min, recipe.max);
  let next = 0;
  const weights = answers.map((answer) => (apart(answer) ? alone : ready[next++]));
  return { weights, baseline, recentMedians };
}

/** Step 1 of {@link weighBatch}; may be infinite or, for a NaN temperature, NaN. */
export function rawWeight(
  recipe: Pick<WeightRecipe, 'kind' | 'temperature' | 'beta' | 'ablation'>,
  answer: Pick<WeighedAnswer, 'pmi' | 'disagrees'>,
  baseline: number,
): number {
  const reversed = recipe.ablation === 'reversed';
  const sign = reversed ? 1 : -1;
  const distance = answer.pmi === null || Number.isNaN(answer.pmi) ? 0 : answer.pmi - baseline;
  switch (recipe.kind) {
    case 'sigmoid':
      return sigmoid((sign * distance) / recipe.temperature);
    case 'exponential':
      return Math.exp(sign * recipe.beta * distance);
    case 'uniform':
      return 1;
    case 'disagree':
      return answer.disagrees !== reversed ? 1 : 0;
  }
}

/** b. The running median is the median of the batch medians of the last 16 rounds, this one included. */
function baselineOf(
  recipe: WeightRecipe,
  batch: readonly WeighedAnswer[],
  earlier: readonly number[],
): { baseline: number; recentMedians: readonly number[] } {
  const own = median(batch.map((answer) => answer.pmi ?? NaN));
  const recentMedians = (own === null ? earlier : [...earlier, own])
    .filter(Number.isFinite)
    .slice(-RUNNING_WINDOW);
  switch (recipe.baseline) {
    case 'zero':
      return { baseline: 0, recentMedians };
    case 'batch-median':
      return { baseline: own ?? 0, recentMedians };
    case 'running-median':
      return { baseline: median(recentMedians) ?? 0, recentMedians };
  }
}

function shuffled(weights: readonly number[], random: Random | undefined): readonly number[] {
  if (random === undefined) throw new RangeError("weight ablation 'shuffled' needs a source of randomness");
  return random.shuffle(weights);
}
