import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { gradeAll, isRightAnswer } from './exact-match.js';
import { sameValues } from './same-values.js';

describe('values of several unknowns', () => {
  const given: [string, string[]][] = [
    ['15, 9', ['15', '9']],
    ['9 and 15', ['15', '9']],
    ['x = 15, y = 9', ['15', '9']],
    ['y = 9 \\text{ and } x = 15', ['15', '9']],
    ['(15, 9)', ['15', '9']],
    ['\\left( 15,\\ 9 \\right)', ['15', '9']],
    ['\\{9, 15\\}', ['15', '9']],
    ['15 novelists and 9 poets', ['15', '9']],
    ['15 novelists, 9 poets', ['15', '9']],
    ['\\text{novelists} = 15, \\text{poets} = 9', ['15', '9']],
    ['novelists: 15; poets: 9', ['15', '9']],
    ['137, 388', ['137', '388']],
    ['137,388', ['137', '388']],
    ['388 and 137', ['137', '388']],
    ['$3,900 and $2,200', ['3900', '2200']],
    ['$(\\frac{1}{2}, 0.25)$', ['0.5', '0.25']],
    ['3', ['3']],
    ['x = 12,500', ['12500']],
  ];
  for (const [text, expected] of given)
    it(`finds ${expected.join(' and ')} in ${text}`, () => assert.ok(sameValues(text, expected)));

  it('needs each of them once, and nothing else', () => {
    for (const text of ['15', '15, 15', '15, 9, 3', '15, 8', '24', '', 'none'])
      assert.ok(!sameValues(text, ['15', '9']), text);
    assert.ok(!sameValues('15, 9', ['15', '15']));
  });

  it('lets values be rounded that are not whole, and no others', () => {
    const tolerance = 1e-3;
    assert.ok(sameValues('583.33, 166.67', ['583.3333', '166.66666'], { tolerance }));
    assert.ok(!sameValues('583.33, 166.67', ['583.3333', '166.66666']));
    assert.ok(!sameValues('3899, 2200', ['3900', '2200'], { tolerance }));
  });

  it('does not care for their order', () => {
    const values = fc.array(fc.integer({ min: -2000, max: 2000 }), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(values, fc.boolean(), (numbers, reversed) => {
        const expected = numbers.map(String);
        assert.ok(sameValues((reversed ? [...expected].reverse() : expected).join('; '), expected));
      }),
    );
  });

  it('takes the first alone where the question asks for it alone', () => {
    const question = { promptId: 'p', question: 'q', answer: '63, 17', values: ['63', '17'] };
    assert.ok(!isRightAnswer('63', question));
    assert.ok(isRightAnswer('63', { ...question, asksForFirst: true }));
    assert.ok(isRightAnswer('17, 63', { ...question, asksForFirst: true }));
    assert.ok(!isRightAnswer('17', { ...question, asksForFirst: true }));
    assert.deepEqual(gradeAll(['so \\boxed{17 and 63}', 'so \\boxed{17}'], [question, question]), [
      true,
      false,
    ]);
  });
});
