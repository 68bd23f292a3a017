import type { OptimizerSettings } from './adamw.js';
import { openTestEngine } from './device-test-support.js';
import type { Engine } from './engine.js';
import type { EngineOptions, TrainSequence, Trainable } from './language-model.js';
import { toyConfig, toyTokens } from './test-models.js';
import type { ToyArchitecture } from './test-models.js';

/** A step that moves the weights. */
export const settings: OptimizerSettings = {
  learningRate: 0.01,
  beta1: 0.9,
  beta2: 0.98,
  epsilon: 1e-8,
  weightDecay: 0.01,
  maxGradNorm: 1,
};
/** Small adapters. */
export const lora = { kind: 'lora', rank: 2, alpha: 4, seed: 3 } as const satisfies Trainable;
/** The families that the engine's tests run. */
export const architectures: ToyArchitecture[] = ['llama', 'qwen2', 'gemma2'];

/** A toy model on the device of the tests; `overrides` are config.json keys. */
export function openToy(
  architecture: ToyArchitecture,
  options: EngineOptions = {},
  overrides: Readonly<Record<string, unknown>> = {},
): Promise<Engine> {
  const config = toyConfig(architecture, overrides);
  return openTestEngine({ kind: 'memory', config, seed: 1, weights: new Map() }, options);
}

/** A training sequence of reproducible tokens, the second half its target. */
export function sequence(length: number, seed: number, more: Partial<TrainSequence> = {}): TrainSequence {
  const tokens = toyTokens(length, seed);
  const cut = Math.ceil(length / 2);
  return { prompt: tokens.slice(0, cut), target: tokens.slice(cut), weight: 1, ...more };
}
