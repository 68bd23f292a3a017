import type { ModelConfig } from './config.js';
import type { OptimizerSettings } from './adamw.js';
import type { GenerateItem, GenerateOptions, ScoreItem, TrainSequence } from './language-model.js';
import { LmError } from './lm-error.js';
import { samplingProblems } from './sampling-problems.js';

/** Refuses malformed generation requests before anything is computed. */
export function validateGenerate(
  config: ModelConfig,
  items: readonly GenerateItem[],
  options: GenerateOptions,
): void {
  const problems = samplingProblems(options);
  if (problems.length > 0) invalid(`${problems.join('; ')}.`);
  const { maxTokens } = options;
  items.forEach(({ prompt, seed }, index) => {
    checkPrompt(config, prompt, `items[${index}].prompt`);
    if (!Number.isSafeInteger(seed))
      invalid(`items[${index}].seed is ${seed}; give a safe integer.`, { index });
    checkFits(config, index, prompt.length, maxTokens, 'maxTokens');
  });
}

/** Refuses malformed scoring requests before anything is computed. */
export function validateScore(config: ModelConfig, items: readonly ScoreItem[]): void {
  items.forEach(({ prompt, target }, index) => {
    checkPrompt(config, prompt, `items[${index}].prompt`);
    checkTokens(config, target, `items[${index}].target`);
    checkFits(config, index, prompt.length, target.length, 'target tokens');
  });
}

/** Refuses malformed training batches and settings before anything is computed. */
export function validateTrainStep(
  config: ModelConfig,
  batch: readonly TrainSequence[],
  settings: OptimizerSettings,
): void {
  if (batch.length === 0) invalid('The batch is empty; give at least one sequence.');
  validateSettings(settings);
  batch.forEach((sequence, index) => {
    const { prompt, target, weight, anchorWeight = 0, tokenWeights } = sequence;
    checkPrompt(config, prompt, `batch[${index}].prompt`);
    if (target.length === 0) invalid(`batch[${index}].target is empty; give at least one token.`, { index });
    checkTokens(config, target, `batch[${index}].target`);
    checkFits(config, index, prompt.length, target.length, 'target tokens');
    checkWeight(weight, `batch[${index}].weight`, index);
    checkWeight(anchorWeight, `batch[${index}].anchorWeight`, index);
    if (!tokenWeights) return;
    if (tokenWeights.length !== target.length) {
      invalid(
        `batch[${index}].tokenWeights has ${tokenWeights.length} values for ${target.length} target tokens.`,
        {
          index,
        },
      );
    }
    tokenWeights.forEach((value, i) => {
      checkWeight(value, `batch[${index}].tokenWeights[${i}]`, index);
      if (value < 0)
        invalid(`batch[${index}].tokenWeights[${i}] is ${value}; give a number of at least 0.`, { index });
    });
    if (!tokenWeights.some((value) => value > 0)) {
      invalid(`batch[${index}].tokenWeights are all zero; give the sequence weight 0 instead.`, { index });
    }
  });
}

function validateSettings(settings: OptimizerSettings): void {
  const { learningRate, beta1, beta2, epsilon, weightDecay, maxGradNorm } = settings;
  const check = (ok: boolean, name: string, value: number, expected: string): void => {
    if (!ok) invalid(`${name} is ${value}; give ${expected}.`);
  };
  check(
    Number.isFinite(learningRate) && learningRate >= 0,
    'learningRate',
    learningRate,
    'a number of at least 0',
  );
  check(beta1 >= 0 && beta1 < 1, 'beta1', beta1, 'a number in [0, 1)');
  check(beta2 >= 0 && beta2 < 1, 'beta2', beta2, 'a number in [0, 1)');
  check(Number.isFinite(epsilon) && epsilon > 0, 'epsilon', epsilon, 'a positive number');
  check(
    Number.isFinite(weightDecay) && weightDecay >= 0,
    'weightDecay',
    weightDecay,
    'a number of at least 0',
  );
  check(maxGradNorm > 0, 'maxGradNorm', maxGradNorm, 'a positive number, or Infinity for no clipping');
}

function checkWeight(value: number, name: string, index: number): void {
  if (Number.isFinite(value)) return;
  throw new LmError(
    'WEIGHT_NOT_FINITE',
    `${name} is ${value}; weights must be finite. Nothing was trained: mend or drop sequence ${index} and send the batch again.`,
    { details: { index } },
  );
}

function checkPrompt(config: ModelConfig, prompt: readonly number[], name: string): void {
  if (prompt.length === 0)
    invalid(`${name} is empty; give at least one token, such as the beginning-of-sequence token.`);
  checkTokens(config, prompt, name);
}

function checkTokens(config: ModelConfig, tokens: readonly number[], name: string): void {
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i];
    if (Number.isInteger(token) && token >= 0 && token < config.vocabSize) continue;
    invalid(`${name}[${i}] is ${token}; token ids of this model are integers in [0, ${config.vocabSize}).`);
  }
}

function checkFits(
  config: ModelConfig,
  index: number,
  promptTokens: number,
  further: number,
  what: string,
): void {
  const contextTokens = config.maxPositions;
  if (promptTokens + further <= contextTokens) return;
  throw new LmError(
    'PROMPT_TOO_LONG',
    `Item ${index} has a prompt of ${promptTokens} tokens; with ${further} ${what} it exceeds the model's context of ` +
      `${contextTokens}. Shorten the prompt or ask for fewer tokens.`,
    { details: { index, promptTokens, maxTokens: further, contextTokens } },
  );
}

function invalid(message: string, details: Record<string, number> = {}): never {
  throw new LmError('ARGUMENT_INVALID', message, { details });
}
