import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createRandom } from '@parley/pst';
import fc from 'fast-check';
import { splitOf } from '../tasks/split.js';
import { taskVocabulary } from '../tasks/tokenizer.js';
import { FAMILIES } from './families.js';
import { corrupt, sampleProblem, solve } from './problem.js';
import { WORD_PROBLEMS } from './task.js';

const seeds = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

/** Recomputes a written-out chain step by step. */
function checkChain(response: string): void {
  const match = /^(\d+) (.) (\d+) = (\d+) ; (\d+) (.) (\d+) = (\d+) A (\d+)$/.exec(response);
  assert.ok(match, response);
  const [a, o, b, r, x, p, y, s, answer] = match.slice(1);
  const run = (left: string, operator: string, right: string): number => {
    const [i, j] = [Number(left), Number(right)];
    return { '+': i + j, '-': i - j, '*': i * j, '/': i / j }[operator]!;
  };
  assert.equal(run(a, o, b), Number(r), response);
  assert.equal(run(x, p, y), Number(s), response);
  assert.equal(s, answer);
  assert.ok(Number(s) >= 0 && Number(s) <= 99 && Number(r) <= 99);
}

describe('word problems', () => {
  it('have gold chains whose arithmetic holds, in every family', () => {
    fc.assert(
      fc.property(seeds, fc.nat(FAMILIES.length - 1), (seed, family) => {
        const problem = sampleProblem(createRandom(seed), family);
        checkChain(solve(problem).response);
        assert.doesNotMatch(problem.question, /\b[NMOabc]\b/);
      }),
      { numRuns: 1000 },
    );
  });

  it('say in words what the chain computes', () => {
    const problem = { family: 6, numbers: { a: 20, b: 4, c: 0 }, question: '' };
    assert.deepEqual(solve(problem), { response: '20 + 4 = 24 ; 24 / 2 = 12 A 12', answer: '12' });
    assert.equal(
      solve({ ...problem, family: 8, numbers: { a: 10, b: 7, c: 0 } }).response,
      '10 - 7 = 3 ; 7 - 3 = 4 A 4',
    );
    assert.equal(
      solve({ ...problem, family: 5, numbers: { a: 3, b: 4, c: 0 } }).response,
      '3 * 4 = 12 ; 12 + 3 = 15 A 15',
    );
  });

  it('are corrupted into well-formed chains', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const random = createRandom(seed);
        const { response } = corrupt(sampleProblem(random), random);
        assert.match(response, /^\d+ . \d+ = \d+ ; \d+ . \d+ = \d+ A \d+$/);
      }),
      { numRuns: 500 },
    );
  });

  it('weigh results and the answer', () => {
    assert.deepEqual(
      WORD_PROBLEMS.tokenWeights('3 * 4 = 12 ; 12 - 5 = 7 A 7'),
      [1, 3, 1, 1, 2, 1, 2, 2, 2, 1, 3, 1, 3, 1],
    );
  });

  it('stay in their split for good', () => {
    // Pinned: a change here would let demo checkpoints have trained on held-out questions.
    const split = (question: string) => splitOf(WORD_PROBLEMS, question);
    assert.equal(split('bob had 18 eggs . bob lost 6 and then found 2 . how many now'), 'held-out');
    assert.equal(split('bob has 2 bags with 5 cards each . bob eats 7 . how many left'), 'unlabelled');
    assert.equal(split('sue has 5 apples . ann has 2 times as many . how many together'), 'pretraining');
  });

  it('deal each product once at most, neighbours in size to different peers', () => {
    const facts = WORD_PROBLEMS.factTriples.flat();
    assert.equal(new Set(facts).size, 21);
    assert.deepEqual(WORD_PROBLEMS.factTriples[0], ['2*2', '2*3', '2*4']);
    const problem = { numbers: { a: 5, b: 3, c: 1 }, question: '' };
    assert.deepEqual(WORD_PROBLEMS.facts({ ...problem, family: 0 }), ['3*5']);
    assert.deepEqual(WORD_PROBLEMS.facts({ ...problem, family: 2 }), [], 'which multiplies nothing');
  });

  it('have one token a number, at the places where the demo checkpoints expect them', () => {
    const vocabulary = taskVocabulary(WORD_PROBLEMS);
    const specials = ['<pad>', '<bos>', '<eos>', '<r>', '<v>', '<p0>', '<p1>', '<p2>', '<unk>'];
    assert.deepEqual(vocabulary.slice(0, 9), specials);
    assert.equal(vocabulary.indexOf('0'), 15);
    assert.deepEqual(vocabulary.slice(15, 115), WORD_PROBLEMS.orderedWords);
  });
});
