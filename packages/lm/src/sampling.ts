/** One chosen token with its log-probability and the entropy of its distribution, both at temperature 1, in nats. */
export interface SampledToken {
  token: number;
  logProb: number;
  entropy: number;
}

/** How a token is chosen from logits. */
export interface SamplingSettings {
  /** 0 is greedy; ties go to the lowest token id. */
  readonly temperature: number;
  /** Nucleus mass in (0, 1]; 1 switches the nucleus off (Holtzman et al., arXiv 1904.09751). */
  readonly topP: number;
}

/**
 * Chooses a token from one row of logits.
 * @param logits the whole array; the row is `logits[offset, offset + size)`
 * @param uniform a number in [0, 1) that decides; unused when greedy
 */
export function sampleRow(
  logits: Float32Array,
  offset: number,
  size: number,
  settings: SamplingSettings,
  uniform: number,
): SampledToken {
  let best = 0;
  for (let i = 1; i < size; i++) if (logits[offset + i] > logits[offset + best]) best = i;
  const max = logits[offset + best];
  let mass = 0;
  let moment = 0;
  for (let i = 0; i < size; i++) {
    const shifted = logits[offset + i] - max;
    const weight = Math.exp(shifted);
    mass += weight;
    moment += weight === 0 ? 0 : weight * shifted;
  }
  const logMass = Math.log(mass);
  const token = settings.temperature === 0 ? best : drawToken(logits, offset, size, max, settings, uniform);
  return { token, logProb: logits[offset + token] - max - logMass, entropy: logMass - moment / mass };
}

function drawToken(
  logits: Float32Array,
  offset: number,
  size: number,
  max: number,
  { temperature, topP }: SamplingSettings,
  uniform: number,
): number {
  const weights = new Float64Array(size);
  let mass = 0;
  for (let i = 0; i < size; i++) {
    weights[i] = Math.exp((logits[offset + i] - max) / temperature);
    mass += weights[i];
  }
  if (topP >= 1) return inverseCdf(weights, null, uniform * mass);
  const nucleus = nucleusOf(weights, mass * topP);
  let kept = 0;
  for (const token of nucleus) kept += weights[token];
  return inverseCdf(weights, nucleus, uniform * kept);
}

/** The fewest tokens, likeliest first (ties by id), whose weights reach `target`; never empty. */
function nucleusOf(weights: Float64Array, target: number): Uint32Array {
  const order = Uint32Array.from(weights.keys()).sort((a, b) => weights[b] - weights[a] || a - b);
  let sum = 0;
  let count = 0;
  do sum += weights[order[count++]];
  while (sum < target && count < order.length);
  return order.subarray(0, count);
}

/** First token whose cumulative weight exceeds `threshold`; rounding at the end falls on the last token of weight > 0. */
function inverseCdf(weights: Float64Array, order: Uint32Array | null, threshold: number): number {
  const count = order?.length ?? weights.length;
  let sum = 0;
  let last = 0;
  for (let i = 0; i < count; i++) {
    const token = order ? order[i] : i;
    if (weights[token] === 0) continue;
    sum += weights[token];
    last = token;
    if (sum > threshold) return token;
  }
  return last;
}

/**
 * Draws an index from weights in descending order that belong to a distribution of total mass 1: from the fewest that
 * reach `topP`, or from all of them if they do not reach it.
 */
export function sampleWeighted(descending: Float32Array, topP: number, uniform: number): number {
  let count = 0;
  let kept = 0;
  while (count < descending.length && kept < topP) kept += descending[count++];
  let sum = 0;
  for (let i = 0; i < count; i++) {
    sum += descending[i];
    if (sum > uniform * kept) return i;
  }
  return count - 1;
}
