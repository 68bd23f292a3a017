import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { answersEqual, canonicalAnswer, extractAnswer, findAnswer, WORD_PROBLEM_ANSWERS } from './answer.js';

describe('answer', () => {
  const texts: [string, string | null][] = [
    ['so \\boxed{12}', '12'],
    ['first \\boxed{1}, no: \\boxed{\\frac{1}{2}}.', '0.5'],
    ['cut off \\boxed{12', '12'],
    ['The answer is 42.', '42'],
    ['The answer is: $1,234.50', '1234.5'],
    ['The final answer is x = 3 and y = 4.', 'x=3,y=4'],
    ['the answer is 3 at first. But the answer is 5.', '5'],
    ['Work.\nAnswer: 7\n', '7'],
    ['Q: what? A: 9', '9'],
    ['3 * 4 = 12 ; 12 - 5 = 7 A 7', '7'],
    ['He has 3 bags of 12, thus 36 apples', '36'],
    ['that leaves -5', '-5'],
    ['it is 3.50', '3.5'],
    ['The answer is 36 apples.', '36'],
    ['no number here', null],
    ['', null],
  ];
  for (const [text, expected] of texts) {
    it(`finds ${expected ?? 'nothing'} in ${JSON.stringify(text)}`, () =>
      assert.equal(extractAnswer(text), expected));
  }

  it('takes a missing or incomplete marker for a missing answer where only markers count', () => {
    const extract = (text: string): string | null => extractAnswer(text, WORD_PROBLEM_ANSWERS);
    assert.equal(extract('3 * 4 = 12 ; 12 - 5 = 7 A 7'), '7');
    assert.equal(extract('3 * 4 = 12 ; 12 - 5 = 7'), null);
    assert.equal(extract('3 * 4 = 12 A'), null);
    assert.equal(extract('3 A 4 A 5'), '5');
    assert.equal(extract('A 4'), '4');
    assert.equal(extract('3 * 4 = 12 A 12 13'), null);
    assert.equal(extract('3 * 4 = 12 A ;'), null);
  });

  it('gives the span of the answer, so that it alone can be scored', () => {
    assert.deepEqual(findAnswer('12 - 5 = 7 A 7'), { prefix: '12 - 5 = 7 A ', answer: '7' });
    assert.deepEqual(findAnswer('so \\boxed{a}'), { prefix: 'so \\boxed{', answer: 'a' });
    fc.assert(
      fc.property(fc.string(), (text) => {
        const span = findAnswer(text);
        if (span !== null) assert.ok(text.startsWith(span.prefix + span.answer));
      }),
    );
  });

  const spellings: [string, string][] = [
    ['7.0', '7'],
    ['+7', '7'],
    ['-0', '0'],
    ['1,000,000', '1000000'],
    ['$ 5', '5'],
    ['1/3', '0.333333333333'],
    ['\\dfrac{3}{4}', '0.75'],
    ['y = 4, x = 3', 'x=3,y=4'],
    ['x=3; y=4.0', 'x=3,y=4'],
    ['x = 12', '12'],
    ['\\text{Blue}', 'blue'],
    ['\\left( 1, 2 \\right)', '(1,2)'],
    ['5\\%', '5'],
    ['2x + 1', '2x+1'],
    ['1/0', '1/0'],
    ['36 apples', '36'],
    ['**42**', '42'],
    ['12 13', '12 13'],
    ['- 5', '-5'],
    ['Blue  whale', 'blue whale'],
    ['12 and 5', '12 and 5'],
  ];
  for (const [raw, expected] of spellings) {
    it(`spells ${raw} as ${expected}`, () => {
      assert.equal(canonicalAnswer(raw), expected);
      assert.equal(canonicalAnswer(expected), expected, 'canonical form is a fixed point');
    });
  }

  it('compares numbers with a tolerance, and names by name', () => {
    assert.ok(answersEqual('0.333333333333', '0.3333333'));
    assert.ok(!answersEqual('0.333333333333', '0.34'));
    assert.ok(answersEqual('0.33', '0.34', { tolerance: 0.02 }));
    assert.ok(answersEqual('x=3,y=4', 'x=3,y=4.0000001'));
    assert.ok(!answersEqual('x=3,y=4', 'x=4,y=3'));
    assert.ok(!answersEqual('x=3,y=4', '3,4'));
    assert.ok(!answersEqual(null, null));
  });

  it('compares symmetrically, and every answer equals itself', () => {
    const answer = fc
      .oneof(fc.string(), fc.double().map(String), fc.integer().map(String))
      .map(canonicalAnswer);
    fc.assert(
      fc.property(answer, answer, (a, b) => {
        assert.equal(answersEqual(a, b), answersEqual(b, a));
        assert.ok(answersEqual(a, a));
      }),
    );
  });
});
