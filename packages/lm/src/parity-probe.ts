import type { ModelConfig } from './config.js';
import type { Forward } from './forward.js';
import { extendPrefix } from './generation-scheduler.js';
import { capacityFor, createKvCache } from './kv-cache.js';
import type { Quantization } from './language-model.js';
import { LmError } from './lm-error.js';
import type { ServedWeights } from './model-weights.js';
import { int64Tensor } from './pass-runner.js';

/**
 * Largest difference, in nats a token, between log-probabilities as served and as trained: in float32 they differ by rounding; with an
 * 8-bit base the serving path also rounds activations, to 13 or to 8 bits.
 */
export const parityBounds: Readonly<Record<Quantization, number>> = { none: 2e-3, int8: 5e-2, w8a8: 0.5 };

/** A short sequence: a prompt that is read at once and tokens that are decoded one by one. */
export interface ProbeSequence {
  readonly prompt: readonly number[];
  readonly target: readonly number[];
}

/** The same tokens for every version of a model, spread over its vocabulary. */
export function probeSequence({ vocabSize, maxPositions }: ModelConfig): ProbeSequence {
  const length = Math.min(16, maxPositions);
  const tokens = Array.from({ length }, (_, i) => (i * i * 7919 + 13 * i + 5) % vocabSize);
  const cut = Math.max(1, Math.floor(length / 2));
  return { prompt: tokens.slice(0, cut), target: tokens.slice(cut) };
}

/** Log-probabilities of the target as generation computes them: the prompt at once, then a token at a time from the cache. */
export async function servedLogProbs(
  config: ModelConfig,
  forward: Forward,
  weights: ServedWeights,
  { prompt, target }: ProbeSequence,
): Promise<Float32Array> {
  const prefix = { cache: createKvCache(config, 1, capacityFor(prompt.length + target.length)), length: 0 };
  const logProbs = new Float32Array(target.length);
  let { hidden } = await extendPrefix(forward, weights, prefix, prompt);
  for (let i = 0; i < target.length; i++) {
    if (i > 0) ({ hidden } = await extendPrefix(forward, weights, prefix, [target[i - 1]]));
    const outputs = await forward.head(weights, hidden, 'score', (count) => ({
      labels: int64Tensor(new Array<number>(count).fill(target[i]), [count, 1]),
    }));
    logProbs[i] = (outputs['logProbs'].data as Float32Array)[0];
  }
  return logProbs;
}

/**
 * Compares what is served with what is trained (their mismatch is known to ruin training unseen: Yao et al., "Your Efficient RL
 * Framework Secretly Brings You Off-Policy RL Training", 2025).
 * @returns the largest difference, nats a token
 * @throws LmError `PARITY_BROKEN` if it is above `bound`, or not a number
 */
export function requireParity(served: Float32Array, trained: Float32Array, bound: number): number {
  const differences = Array.from(served, (value, i) => Math.abs(value - trained[i]));
  const worst = differences.findIndex((value) => !(value <= bound));
  if (worst < 0) return Math.max(...differences);
  throw new LmError(
    'PARITY_BROKEN',
    `Generation and training disagree about this version: token ${worst} of the probe has log-probability ${served[worst]} as served and ` +
      `${trained[worst]} as trained, more than ${bound} nats apart. The version is not to be used: go back to the one before; if that ` +
      'fails too, restart the process, and look at its device and memory.',
    { details: { token: worst, served: served[worst], trained: trained[worst], bound } },
  );
}
