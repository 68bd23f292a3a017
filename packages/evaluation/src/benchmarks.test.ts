import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { asksForOne, BENCHMARKS } from './benchmarks.js';
import { countDistinct, trainedOn } from './contamination.js';
import { isExactMatch } from './exact-match.js';
import { fillTemplate, verificationQuestion } from './verification.js';

describe('benchmarks', () => {
  it('ask for the final answer where they look for it first', () => {
    for (const [name, benchmark] of Object.entries(BENCHMARKS)) {
      assert.equal(benchmark.name, name);
      assert.match(benchmark.promptTemplate, /^\{question\}\n\n.*\\boxed\{\}/s);
      assert.equal(benchmark.answers.forms[0], 'boxed');
    }
  });

  it('grade what their answers are', () => {
    const right = (name: keyof typeof BENCHMARKS, response: string, answer: string): boolean =>
      isExactMatch(response, answer, { ...BENCHMARKS[name].answers, tolerance: BENCHMARKS[name].tolerance });
    assert.ok(right('multiarith', 'A bag holds 5. So there are \\boxed{36 \\text{ apples}}.', '36'));
    assert.ok(right('multiarith', 'That makes 36', '36'));
    assert.ok(!right('multiarith', 'so \\boxed{x} are left', '36'));
    assert.ok(right('simuleq', 'The answer is 583.33.', '583.3333'));
    assert.ok(right('math500', 'so \\boxed{\\frac{14}3}', '\\frac{14}{3}'));
    assert.ok(!right('math500', 'that makes 36', '36'));
  });

  it('tell a question for one quantity by its wording', () => {
    for (const one of [
      'The total was 519 dollars , how many child tickets were sold?',
      'A board is cut into 2 pieces. Find the length of the shorter piece.',
      'How many ounces of a 20 % alloy must be mixed with a 27 % alloy to form 100 ounces?',
    ])
      assert.ok(asksForOne(one), one);
    for (const several of [
      'How many novelists are there? How many poets are there?',
      'How many wins and losses did the team have?',
      'How much was invested in each fund?',
      'Find the two numbers.',
      'how much did he invest at 3 %? At 5 %?',
      'Tom is tall.',
    ])
      assert.ok(!asksForOne(several), several);
  });
});

describe('templates', () => {
  it('take values as they are and leave other braces alone', () => {
    assert.equal(fillTemplate('{question} \\boxed{} {a}', { question: '$& {a}' }), '$& {a} \\boxed{} {a}');
    assert.match(
      verificationQuestion('1 + 1?', '{question}'),
      /Question: 1 \+ 1\?\n\nResponse: \{question\}\n/,
    );
  });
});

describe('questions that were trained on', () => {
  const questions = ['Tom has 3 bags, each with 1,000 pens.', 'What is $x+1$?', 'What is $x-1$?'].map(
    (question, i) => ({ promptId: `q${i}`, question, answer: '1' }),
  );

  it('are found whatever their case, spacing and punctuation, and inside a template', () => {
    assert.deepEqual(trainedOn(questions, ['tom has 3 bags   each with 1000 pens']), ['q0']);
    const template = '{question}\n\nSolve this.';
    assert.deepEqual(trainedOn(questions, [fillTemplate(template, questions[1])], [template]), ['q1']);
    assert.deepEqual(trainedOn(questions, [fillTemplate(template, questions[1])]), []);
    assert.deepEqual(trainedOn(questions, ['What is x − 1?', 'Tom has 30 bags, each with 1,000 pens.']), [
      'q2',
    ]);
  });

  it('differ by their numbers and operators', () => {
    assert.equal(countDistinct(questions), 3);
    assert.equal(
      countDistinct([...questions, { ...questions[0], question: ' tom has 3 bags; each with 1000 pens' }]),
      3,
    );
    const decimals = ['It costs 10.50.', 'It costs 1050.', 'It costs 10 50'].map((question) => ({
      ...questions[0],
      question,
    }));
    assert.equal(countDistinct(decimals), 3);
    const hyphens = ['a 40-pound bag', 'a 40 pound bag'].map((question) => ({ ...questions[0], question }));
    assert.equal(countDistinct(hyphens), 1);
  });
});
