import type { ModelConfig } from './config.js';
import type { OptimizerSettings } from './adamw.js';
import type { GenerateItem, GenerateOptions, ScoreItem, TrainSequence } from './language-model.js';
import { LmError } from './lm-error.js';
import { maxTopLogProbs, minTemperature } from './sampling.js';

/** Refuses malformed generation requests before anything is computed. */
export function validateGenerate(
  config: ModelConfig,
  items: readonly GenerateItem[],
  options: GenerateOptions,
): void {
  const { maxTokens, stopStrings = [] } = options;
  checkNumber(Number.isInteger(maxTokens) && maxTokens >= 1, 'maxTokens', maxTokens, 'a positive integer');
  validateSampling(options);
  stopStrings.forEach((stop, index) => checkStopString(stop, `stopStrings[${index}]`));
  items.forEach(({ prompt, seed }, index) => {
    checkPrompt(config, prompt, `items[${index}].prompt`);
    if (!Number.isSafeInteger(seed))
      invalid(`items[${index}].seed is ${seed}; give a safe integer.`, { index });
    checkFits(config, index, prompt.length, maxTokens, 'maxTokens');
  });
}

function validateSampling(options: GenerateOptions): void {
  const { temperature, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1, topLogProbs = 0 } = options;
  checkNumber(
    temperature === 0 || (temperature >= minTemperature && temperature < Infinity),
    'temperature',
    temperature,
    `0 for greedy, or a number of at least ${minTemperature}`,
  );
  checkNumber(Number.isSafeInteger(topK) && topK >= 0, 'topK', topK, 'a positive integer, or 0 for all tokens');
  checkNumber(topP > 0 && topP <= 1, 'topP', topP, 'a number in (0, 1]');
  checkNumber(minP >= 0 && minP <= 1, 'minP', minP, 'a number in [0, 1]');
  checkNumber(
    repetitionPenalty >= 0.01 && repetitionPenalty <= 100,
    'repetitionPenalty',
    repetitionPenalty,
    'a number in [0.01, 100]; 1 penalises nothing',
  );
  checkNumber(
    Number.isInteger(topLogProbs) && topLogProbs >= 0 && topLogProbs <= maxTopLogProbs,
    'topLogProbs',
    topLogProbs,
    `an integer in [0, ${maxTopLogProbs}]`,
  );
  const idle = [
    ...(topK > 0 ? [`topK ${topK}`] : []),
    ...(topP < 1 ? [`topP ${topP}`] : []),
    ...(minP > 0 ? [`minP ${minP}`] : []),
  ];
  if (temperature === 0 && idle.length > 0) {
    invalid(
      `temperature 0 always takes the likeliest token, so ${idle.join(' and ')} would change nothing; ` +
        'give a temperature above 0 or leave the filters out.',
    );
  }
}

function checkStopString(stop: string, name: string): void {
  if (stop === '') invalid(`${name} is empty, which would end every sequence at once; leave it out.`);
  if (stop.includes('\uFFFD')) {
    invalid(
      `${name} holds U+FFFD, which also stands for a character whose bytes have not all arrived; leave it out.`,
    );
  }
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
  const check = checkNumber;
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

function checkNumber(ok: boolean, name: string, value: number, expected: string): void {
  if (!ok) invalid(`${name} is ${value}; give ${expected}.`);
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
