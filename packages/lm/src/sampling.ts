import { likeliestFew, rankLogits } from './token-ranking.js';
import type { TokenRanking } from './token-ranking.js';

/** A token and its log-probability at temperature 1 before any penalty or filter, in nats, as a float32. */
export interface TokenLogProb {
  readonly token: number;
  readonly logProb: number;
}

/** One chosen token; entropy is that of the distribution {@link TokenLogProb} speaks of, in nats. */
export interface SampledToken extends TokenLogProb {
  readonly entropy: number;
  /** The likeliest tokens by falling log-probability, ties by id; as many as the settings ask for. */
  readonly top: readonly TokenLogProb[];
}

/**
 * How a token is chosen from logits. In this order, which is that of transformers:
 * 1. repetition penalty (Keskar et al., arXiv 1909.05858): the logit l of a token that prompt or continuation already
 *    hold becomes l / penalty if l is at least 0, else l · penalty;
 * 2. temperature: logits are divided by it; 0 takes the largest, the lowest id among equals, and ends here;
 * 3. top-k: the k likeliest tokens stay;
 * 4. top-p, the nucleus (Holtzman et al., arXiv 1904.09751): of what stayed, the fewest, likeliest first, whose share of
 *    its probability reaches p;
 * 5. min-p (Nguyen et al., arXiv 2407.01082): tokens stay that are at least p times as likely as the likeliest.
 *
 * Likeliest first means by falling penalised logit, ties by id; of tokens that tie at the border transformers keeps all
 * in step 3 and any in step 4. The likeliest token always stays.
 */
export interface SamplingSettings {
  readonly temperature: number;
  /** 0 switches top-k off. */
  readonly topK: number;
  /** In (0, 1]; 1 switches the nucleus off. */
  readonly topP: number;
  /** In [0, 1]; 0 switches min-p off. */
  readonly minP: number;
  /** Above 0; 1 switches the penalty off. */
  readonly repetitionPenalty: number;
  /** How many of the likeliest tokens are reported beside the chosen one. */
  readonly topLogProbs: number;
}

/** What one draw depends on besides the logits; never on other rows of a batch. */
export interface SamplingRow {
  readonly settings: SamplingSettings;
  /** The number in [0, 1) that decides; unused when greedy. */
  readonly uniform: number;
  /** Each token of prompt and continuation once, for the repetition penalty; may be empty where there is none. */
  readonly seen: readonly number[];
}

/** Whether a draw is restricted to likely tokens. */
export function isFiltered({ temperature, topK, topP, minP }: SamplingSettings): boolean {
  return temperature > 0 && (topK > 0 || topP < 1 || minP > 0);
}

/** Chooses a token from one row of logits. */
export function sampleRow(logits: Float32Array, row: SamplingRow): SampledToken {
  const { settings, uniform, seen } = row;
  const max = logits[likeliestOf(logits)];
  let mass = 0;
  let moment = 0;
  for (const logit of logits) {
    const shifted = logit - max;
    const weight = Math.exp(shifted);
    mass += weight;
    moment += weight === 0 ? 0 : weight * shifted;
  }
  const logMass = Math.log(mass);
  const logProbOf = (token: number): number => Math.fround(logits[token] - max - logMass);
  const token = chooseToken(penalise(logits, settings.repetitionPenalty, seen), settings, uniform);
  return {
    token,
    logProb: logProbOf(token),
    entropy: logMass - moment / mass,
    top: likeliestTokens(logits, settings.topLogProbs, logProbOf),
  };
}

function chooseToken(scores: Float32Array, settings: SamplingSettings, uniform: number): number {
  const { temperature } = settings;
  const likeliest = likeliestOf(scores);
  if (temperature === 0) return likeliest;
  const weights = new Float64Array(scores.length);
  let mass = 0;
  for (let i = 0; i < scores.length; i++) {
    weights[i] = Math.exp((scores[i] - scores[likeliest]) / temperature);
    mass += weights[i];
  }
  if (isFiltered(settings)) return drawFiltered(rankLogits(scores), scores.length, settings, mass, uniform)!;
  return passedAt(weights, uniform * mass);
}

/** Index of the largest, the lowest among equals. */
function likeliestOf(scores: Float32Array): number {
  let best = 0;
  for (let i = 1; i < scores.length; i++) if (scores[i] > scores[best]) best = i;
  return best;
}

/**
 * Logits after the repetition penalty: the same array where there is none, else a copy. Rounds like the float32
 * arithmetic of a graph, so that both rank tokens alike.
 */
export function penalise(logits: Float32Array, penalty: number, seen: readonly number[]): Float32Array {
  if (penalty === 1) return logits;
  const factor = Math.fround(penalty);
  const scores = logits.slice();
  for (const token of seen)
    scores[token] = logits[token] < 0 ? logits[token] * factor : logits[token] / factor;
  return scores;
}

/** The `count` likeliest tokens of a row of raw logits with their log-probabilities. */
export function likeliestTokens(
  logits: Float32Array,
  count: number,
  logProbOf: (token: number) => number,
): TokenLogProb[] {
  if (count === 0) return [];
  return likeliestFew(logits, count).map((token) => ({ token, logProb: logProbOf(token) }));
}

/**
 * Draws from the tokens that pass top-k, top-p and min-p: always the beginning of the ranking, by the inverse of the
 * cumulative distribution in its order.
 * @param ranking by penalised logit; candidates suffice where what passes ends among them
 * @param vocabulary how many tokens there are, ranked or not
 * @param mass Σ exp((logit − largest) / temperature) over the vocabulary
 * @returns null where the ranking is too short to tell
 */
export function drawFiltered(
  ranking: TokenRanking,
  vocabulary: number,
  { temperature, topK, topP, minP }: SamplingSettings,
  mass: number,
  uniform: number,
): number | null {
  const largest = ranking.logit(0);
  const weightAt = (rank: number): number => Math.exp((ranking.logit(rank) - largest) / temperature);
  const limit = topK > 0 ? Math.min(topK, vocabulary) : vocabulary;
  const ranked = Math.min(limit, ranking.length);
  let nucleus = Infinity;
  if (topP < 1) {
    if (limit < vocabulary && ranked < limit) return null;
    nucleus = topP * (limit < vocabulary ? sumOf(limit, weightAt) : mass);
  }
  const weights: number[] = [];
  let kept = 0;
  while (weights.length < ranked && kept < nucleus) {
    const weight = weightAt(weights.length);
    if (weight < minP) return ranking.token(passedAt(weights, uniform * kept));
    weights.push(weight);
    kept += weight;
  }
  if (ranked < limit && kept < nucleus) return null;
  return ranking.token(passedAt(weights, uniform * kept));
}

function sumOf(count: number, term: (index: number) => number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += term(i);
  return sum;
}

/** First index whose cumulative weight exceeds a threshold below the total; never one of weight 0. */
function passedAt(weights: ArrayLike<number>, threshold: number): number {
  let index = 0;
  let sum = weights[0];
  while (sum <= threshold) sum += weights[++index];
  return index;
}
