import { createRandom, seedFrom } from '@parley/pst';
import {
  PRETRAINING,
  pretrainingItem,
  type Coverage,
  type Task,
  type TrainingItem,
} from '@parley/evaluation';
import type { LanguageModel } from '@parley/lm';
import { lengthBatches, trainItems, type EncodeWords } from './train-items.js';

/** Batches that are drawn together and cut by length. */
const POOL_BATCHES = 8;

/** Learning rate at a 0-based step: linear warm-up to the peak, then a cosine down to a share of it. */
export function solvingRate(peak: number, step: number, steps: number): number {
  const { warmupSteps, finalLearningRateRatio } = PRETRAINING;
  const warm = Math.min(1, (step + 1) / warmupSteps);
  const cosine = 0.5 * (1 + Math.cos((Math.PI * step) / steps));
  return peak * warm * Math.max(finalLearningRateRatio, cosine);
}

/**
 * First phase: one peer learns alone to solve, to solve after others' solutions, and to judge, on what its coverage
 * lets it meet.
 * @param onStep called after each step with its loss in nats per token.
 */
export async function solvingPhase(
  model: LanguageModel,
  task: Task,
  coverage: Coverage,
  options: { seed: bigint; steps: number; encode: EncodeWords; onStep: (loss: number) => void },
): Promise<void> {
  const random = createRandom(seedFrom(options.seed, 'solving'));
  let batches: TrainingItem[][] = [];
  for (let step = 0; step < options.steps; step++) {
    if (batches.length === 0) {
      const pool = Array.from({ length: POOL_BATCHES * PRETRAINING.batchSize }, () =>
        pretrainingItem(task, coverage, random),
      );
      batches = lengthBatches(pool, PRETRAINING.batchSize, (values) => random.shuffle(values));
    }
    const batch = batches.pop() ?? [];
    options.onStep(
      await trainItems(
        model,
        batch,
        options.encode,
        PRETRAINING,
        solvingRate(task.learningRate, step, options.steps),
      ),
    );
  }
}
