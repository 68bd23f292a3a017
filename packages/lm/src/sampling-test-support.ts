import type { SamplingSettings } from './sampling.js';
import { uniformAt } from './random.js';

/** Settings that change nothing at temperature 1, but for what is given. */
export function samplingSettings(changes: Partial<SamplingSettings> = {}): SamplingSettings {
  const plain = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, topLogProbs: 0 };
  return { ...plain, ...changes };
}

/** Every filter by itself and together, the penalty with and without them. */
export const settingsToTest: readonly SamplingSettings[] = [
  {},
  { temperature: 0.6 },
  { topK: 9 },
  { topP: 0.7 },
  { minP: 0.04 },
  { repetitionPenalty: 1.4 },
  { temperature: 1.5, topK: 12, topP: 0.8 },
  { temperature: 0.7, topK: 20, minP: 0.05 },
  { temperature: 1.3, topP: 0.85, minP: 0.02 },
  { temperature: 0.8, topK: 15, topP: 0.9, minP: 0.03, repetitionPenalty: 1.2 },
  { temperature: 1.2, topP: 0.9, repetitionPenalty: 0.8 },
].map(samplingSettings);

/**
 * The distribution that settings define, straight from their definition: a whole sort, float64, nothing shared with the
 * code under test. `seen` may repeat tokens. Not for temperature 0.
 */
export function exactDistribution(
  logits: Float32Array,
  { temperature, topK, topP, minP, repetitionPenalty }: SamplingSettings,
  seen: readonly number[] = [],
): Float64Array {
  const penalty = Math.fround(repetitionPenalty);
  const scores = Array.from(logits, (logit, token) => {
    if (repetitionPenalty === 1 || !seen.includes(token)) return logit;
    return Math.fround(logit < 0 ? logit * penalty : logit / penalty);
  });
  const order = scores.map((_, token) => token).sort((a, b) => scores[b] - scores[a] || a - b);
  const weights = order.map((token) => Math.exp((scores[token] - scores[order[0]]) / temperature));
  const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  let kept = topK > 0 ? weights.slice(0, topK) : weights;
  if (topP < 1) {
    const mass = sum(kept);
    let before = 0;
    kept = kept.filter((weight) => {
      const stays = before < topP * mass;
      before += weight;
      return stays;
    });
  }
  kept = kept.filter((weight) => weight >= minP);
  const mass = sum(kept);
  const probabilities = new Float64Array(logits.length);
  kept.forEach((weight, rank) => (probabilities[order[rank]] = weight / mass));
  return probabilities;
}

/** Reproducible logits, roughly normal. */
export function randomLogits(size: number, spread: number, seed: number): Float32Array {
  return Float32Array.from({ length: size }, (_, i) => {
    const [a, b] = [uniformAt(seed, 2 * i), uniformAt(seed, 2 * i + 1)];
    return spread * Math.sqrt(-2 * Math.log(1 - a)) * Math.cos(2 * Math.PI * b);
  });
}

/**
 * How far counts are from what probabilities expect: Pearson's chi-square over tokens with at least five expected draws,
 * the others pooled, as a standard normal deviate (Wilson & Hilferty 1931). Infinity if a token of probability 0 was drawn.
 */
export function chiSquareDeviate(counts: ArrayLike<number>, probabilities: ArrayLike<number>): number {
  const draws = Array.from(counts).reduce((a, b) => a + b, 0);
  let [chiSquare, cells, pooledCount, pooledExpected] = [0, 0, 0, 0];
  const add = (count: number, expected: number): void => {
    chiSquare += (count - expected) ** 2 / expected;
    cells++;
  };
  for (let token = 0; token < counts.length; token++) {
    const expected = probabilities[token] * draws;
    if (expected === 0 && counts[token] > 0) return Infinity;
    if (expected >= 5) {
      add(counts[token], expected);
    } else {
      pooledCount += counts[token];
      pooledExpected += expected;
    }
  }
  if (pooledExpected >= 5) add(pooledCount, pooledExpected);
  const freedom = cells - 1;
  const spread = 2 / (9 * freedom);
  return ((chiSquare / freedom) ** (1 / 3) - (1 - spread)) / Math.sqrt(spread);
}
