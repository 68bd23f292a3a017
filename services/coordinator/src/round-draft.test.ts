import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { FinishReason, GenerateResponseSchema, PromptSchema } from '@parley/contracts';
import { DEFAULT_ANSWERS, extractAnswer } from '@parley/evaluation';
import type { AnswerForm as FoundForm } from '@parley/evaluation';
import { PAPER, RECIPE_FIELDS, PRESETS } from '@parley/pst';
import type { AnswerForm, Recipe } from '@parley/pst';
import { createRoundDraft } from './round-draft.js';

function draftOf(answerForms: AnswerForm[]) {
  const recipe: Recipe = { ...PAPER, aggregate: { ...PAPER.aggregate, answerForms } };
  const prompt = create(PromptSchema, { promptId: 'q0', question: 'What is 12 - 5?' });
  return createRoundDraft({
    recipe,
    seed: 1n,
    round: 0,
    peers: ['ant', 'bee'],
    prompts: [{ prompt, sequence: 1n, index: 0 }],
    extractAnswer: (text, forms) => extractAnswer(text, { forms }),
  });
}

function saying(text: string) {
  const value = { text, finishReason: FinishReason.STOP, completionTokens: 5, logProb: -1 };
  return create(GenerateResponseSchema, { itemId: 'q0', outcome: { case: 'completion', value } });
}

describe('createRoundDraft', () => {
  it("takes for final answers what the recipe's forms find, of independent answers too", () => {
    const answers = (forms: AnswerForm[]) => {
      const draft = draftOf(forms);
      draft.record(0, 0, saying('12 - 5 = 7 A 8'), false);
      draft.record(0, 1, saying('12 - 5 = 7'), false);
      draft.record(0, 1, saying('so A 9'), true);
      const [ant, bee] = draft.items[0].responses;
      return [ant.finalAnswer, bee.finalAnswer, bee.independentFinalAnswer];
    };
    assert.deepEqual(answers(['marker']), ['8', undefined, '9']);
    assert.deepEqual(answers(['marker', 'last-number']), ['8', '7', '9']);
    assert.deepEqual(answers(['boxed']), [undefined, undefined, undefined]);
  });
});

describe('aggregate.answerForms', () => {
  it('knows every form that answers are found in, and starts with all of them', () => {
    const every: Record<FoundForm, AnswerForm> = {
      boxed: 'boxed',
      'answer-is': 'answer-is',
      marker: 'marker',
      'last-number': 'last-number',
    };
    const rule = RECIPE_FIELDS['aggregate.answerForms'];
    assert.ok(rule.type === 'list');
    assert.deepEqual(rule.values, Object.keys(every));
    for (const preset of Object.values(PRESETS))
      assert.deepEqual(preset.aggregate.answerForms, DEFAULT_ANSWERS.forms);
  });
});
