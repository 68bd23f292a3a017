import { ParleyError } from '@parley/runtime';
import type { TrainingSettings } from '@parley/contracts';

/** Settings of one optimiser step, as the engine takes them. */
export interface StepSettings {
  learningRate: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  weightDecay: number;
  /** Infinity: no clipping. */
  maxGradNorm: number;
}

/** One optimiser step of an update. */
export interface PlannedStep<T> {
  items: T[];
  settings: StepSettings;
}

/** More passes than anybody means; a slip here would hold the peer for days. */
const MAX_EPOCHS = 1000;

/**
 * The optimiser steps of one update, a function of its arguments alone: every epoch goes through all items once, in an
 * order shuffled from the seed, `minibatchSize` at a time; the last step of an epoch may have fewer. No items: no steps.
 */
export function planSteps<T>(
  items: readonly T[],
  settings: TrainingSettings,
  seed: bigint,
): PlannedStep<T>[] {
  const random = splitMix64(seed);
  const { epochs, minibatchSize } = settings;
  const total = epochs * Math.ceil(items.length / minibatchSize);
  const steps: PlannedStep<T>[] = [];
  for (let epoch = 0; epoch < epochs && items.length > 0; epoch++) {
    const order = shuffled(items, random);
    for (let start = 0; start < order.length; start += minibatchSize) {
      const learningRate = learningRateAt(settings, steps.length, total);
      steps.push({
        items: order.slice(start, start + minibatchSize),
        settings: stepSettings(settings, learningRate),
      });
    }
  }
  return steps;
}

/** Learning rate of step `step` of `total`: eta, or for "linear" eta * max(final ratio, 1 - step / total). */
function learningRateAt(settings: TrainingSettings, step: number, total: number): number {
  const { learningRate, schedule, finalLearningRateRatio } = settings;
  return schedule === 'linear'
    ? learningRate * Math.max(finalLearningRateRatio, 1 - step / total)
    : learningRate;
}

function stepSettings(settings: TrainingSettings, learningRate: number): StepSettings {
  const { beta1, beta2, epsilon, weightDecay, maxGradNorm } = settings;
  return {
    learningRate,
    beta1,
    beta2,
    epsilon,
    weightDecay,
    maxGradNorm: maxGradNorm === 0 ? Infinity : maxGradNorm,
  };
}

/** @throws ParleyError REQUEST_INVALID listing every setting that makes no sense, with the values that do */
export function checkTrainingSettings(settings: TrainingSettings): void {
  const rules: [field: Exclude<keyof TrainingSettings, `$${string}`>, holds: boolean, wanted: string][] = [
    ['learningRate', settings.learningRate > 0 && settings.learningRate <= 1, 'above 0 and at most 1'],
    ['schedule', ['constant', 'linear'].includes(settings.schedule), '"constant" or "linear"'],
    ['finalLearningRateRatio', isWithin(settings.finalLearningRateRatio, 0, 1), 'from 0 to 1'],
    ['epochs', isWithin(settings.epochs, 1, MAX_EPOCHS), `from 1 to ${MAX_EPOCHS}`],
    ['minibatchSize', settings.minibatchSize >= 1, 'at least 1'],
    [
      'maxGradNorm',
      isWithin(settings.maxGradNorm, 0, Number.MAX_VALUE),
      'finite and at least 0 (0: no clipping)',
    ],
    ['weightDecay', isWithin(settings.weightDecay, 0, 1), 'from 0 to 1'],
    ['beta1', settings.beta1 >= 0 && settings.beta1 < 1, 'at least 0 and below 1'],
    ['beta2', settings.beta2 >= 0 && settings.beta2 < 1, 'at least 0 and below 1'],
    ['epsilon', settings.epsilon > 0 && settings.epsilon <= 1, 'above 0 and at most 1'],
  ];
  const problems = rules.filter(([, holds]) => !holds);
  if (problems.length === 0) return;
  const list = problems.map(
    ([field, , wanted]) => `${snakeCase(field)} is ${settings[field]}, must be ${wanted}`,
  );
  throw new ParleyError('REQUEST_INVALID', `Training settings of the update: ${list.join('; ')}`, {
    details: Object.fromEntries(problems.map(([field]) => [snakeCase(field), String(settings[field])])),
  });
}

/** False for NaN. */
function isWithin(value: number, low: number, high: number): boolean {
  return value >= low && value <= high;
}

function snakeCase(field: string): string {
  return field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Fisher-Yates. */
function shuffled<T>(items: readonly T[], random: () => bigint): T[] {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    // Of 2^64 values, at most i leave a remainder that is more likely: a bias below 1e-12 for any real update.
    const j = Number(random() % BigInt(i + 1));
    [result[i], result[j]] = [result[j], result[i]];
  }
  return result;
}

/** SplitMix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). */
function splitMix64(seed: bigint): () => bigint {
  let state = seed;
  const word = (value: bigint) => BigInt.asUintN(64, value);
  return () => {
    state = word(state + 0x9e3779b97f4a7c15n);
    let z = state;
    z = word((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = word((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
  };
}
