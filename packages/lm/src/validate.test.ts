import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GenerateOptions } from './language-model.js';
import { LmError } from './lm-error.js';
import { toyConfig } from './test-models.js';
import { validateGenerate } from './validate.js';

const check = (changes: Partial<GenerateOptions>): void =>
  validateGenerate(toyConfig('llama'), [{ prompt: [1], seed: 1 }], {
    maxTokens: 4,
    temperature: 1,
    ...changes,
  });

test('sampling settings that are out of range are refused by name, with what to give instead', () => {
  const refusals: [Partial<GenerateOptions>, RegExp][] = [
    [{ temperature: -1 }, /temperature is -1, give 0 for greedy, or a number of at least 0.000001/],
    [{ temperature: 1e-40 }, /temperature is 1e-40, give 0 for greedy/],
    [{ temperature: Infinity }, /temperature is Infinity/],
    [{ temperature: NaN }, /temperature is NaN/],
    [{ topK: -1 }, /topK is -1, give a positive integer, or 0 for all tokens/],
    [{ topK: 1.5 }, /topK is 1.5/],
    [{ topP: 0 }, /topP is 0, give a number in \(0, 1\]/],
    [{ topP: 1.1 }, /topP is 1.1/],
    [{ minP: -0.1 }, /minP is -0.1, give a number in \[0, 1\]/],
    [{ minP: NaN }, /minP is NaN/],
    [{ repetitionPenalty: 0 }, /repetitionPenalty is 0, give a number in \[0.01, 100\]/],
    [{ repetitionPenalty: Infinity }, /repetitionPenalty is Infinity/],
    [{ topLogProbs: 21 }, /topLogProbs is 21, give an integer in \[0, 20\]/],
    [{ stopStrings: ['a', ''] }, /stopStrings\[1\] is empty/],
    [{ stopStrings: ['\uFFFD'] }, /stopStrings\[0\] holds U\+FFFD/],
  ];
  for (const [changes, message] of refusals) {
    assert.throws(
      () => check(changes),
      (error) =>
        error instanceof LmError && error.reason === 'ARGUMENT_INVALID' && message.test(error.message),
      JSON.stringify(changes),
    );
  }
});

test('filters on a greedy choice are refused together; everything else combines', () => {
  assert.throws(
    () => check({ temperature: 0, topK: 40, topP: 0.9, minP: 0.1 }),
    /temperature 0 always takes the likeliest token, so topK 40 and topP 0.9 and minP 0.1 would change nothing: give a temperature above 0/,
  );
  check({ temperature: 0, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1.2, topLogProbs: 20 });
  check({ temperature: 0.7, topK: 1000, topP: 0.9, minP: 0.1, repetitionPenalty: 0.9, stopStrings: ['end'] });
});
