import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createRandom } from '@parley/pst';
import fc from 'fast-check';
import { extractAnswer, WORD_PROBLEM_ANSWERS } from '../answer.js';
import { FAMILIES } from './families.js';
import {
  LISTENING,
  listeningBlock,
  listeningItem,
  listeningQuestions,
  listeningTemperature,
} from './listening.js';
import { drawCovered, keepProbability, makePopulation } from './population.js';
import { pretrainingItem } from './pretraining.js';
import { corrupt, drawSplit, sampleProblem, solve, splitOf } from './problem.js';
import { renderPrompt } from './prompt.js';
import { heldOutQuestions, unlabelledQuestions } from './questions.js';
import { demoVocabulary, numberTokenIds } from './vocabulary.js';

const seeds = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const questionOf = (prompt: string): string => /^<bos> (.*?) <(?:r|v|p\d)>/.exec(prompt)![1];

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
        const { response, answer } = solve(problem);
        checkChain(response);
        assert.equal(extractAnswer(response, WORD_PROBLEM_ANSWERS), answer);
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

  it('are corrupted into well-formed wrong answers', () => {
    const vocabulary = new Set(demoVocabulary());
    fc.assert(
      fc.property(seeds, (seed) => {
        const random = createRandom(seed);
        const problem = sampleProblem(random);
        const wrong = corrupt(problem, random);
        assert.notEqual(wrong.answer, solve(problem).answer);
        assert.match(wrong.response, /^\d+ . \d+ = \d+ ; \d+ . \d+ = \d+ A \d+$/);
        assert.ok(
          wrong.response.split(' ').every((word) => vocabulary.has(word)),
          wrong.response,
        );
      }),
      { numRuns: 500 },
    );
  });

  it('belong to one split each, for good', () => {
    const held = heldOutQuestions(1000, 1n);
    const unlabelled = unlabelledQuestions(1536, 1n);
    assert.equal(new Set(held.map(({ question }) => question)).size, 1000);
    assert.equal(new Set([...held, ...unlabelled].map(({ promptId }) => promptId)).size, 2536);
    assert.ok(held.every(({ question }) => splitOf(question) === 'held-out'));
    assert.ok(unlabelled.every(({ question }) => splitOf(question) === 'unlabelled'));
    assert.deepEqual(heldOutQuestions(20, 1n), held.slice(0, 20), 'a longer list extends a shorter one');
    assert.notDeepEqual(heldOutQuestions(20, 2n), held.slice(0, 20));
    // Pinned: a change here would let demo checkpoints have trained on held-out questions.
    assert.equal(splitOf('bob had 18 eggs . bob lost 6 and then found 2 . how many now'), 'held-out');
    assert.equal(splitOf('bob has 2 bags with 5 cards each . bob eats 7 . how many left'), 'unlabelled');
    assert.equal(splitOf('sue has 5 apples . ann has 2 times as many . how many together'), 'pretraining');
  });

  it('carry no label into training', () => {
    for (const prompt of unlabelledQuestions(50, 3n))
      assert.deepEqual(Object.keys(prompt), ['promptId', 'question']);
    const random = createRandom(1n);
    const [coverage] = makePopulation(1n).coverages;
    for (let i = 0; i < 500; i++) {
      assert.equal(splitOf(questionOf(pretrainingItem(coverage, random).prompt)), 'pretraining');
    }
  });

  it('come in populations with weak spots of one size in different places', () => {
    for (let seed = 0n; seed < 20n; seed++) {
      const { coverages } = makePopulation(seed);
      assert.deepEqual(makePopulation(seed).coverages, coverages);
      const weak = coverages.map(({ weakFamilies }) => weakFamilies);
      assert.ok(weak.every((families) => families.length === 3 && new Set(families).size === 3));
      assert.equal(
        new Set(coverages.flatMap(({ blindFacts }) => blindFacts)).size,
        12,
        'no fact is blind twice',
      );
      for (let family = 0; family < FAMILIES.length; family++) {
        assert.ok(
          weak.filter((families) => families.includes(family)).length <= 1,
          'two peers know every family',
        );
      }
      const problems = drawSplit('unlabelled', 800, seed);
      const shares = coverages.map(
        (coverage) =>
          problems.filter((problem) => keepProbability(coverage, problem) < 0.5).length / problems.length,
      );
      assert.ok(Math.max(...shares) - Math.min(...shares) < 0.1, shares.join(' '));
    }
  });

  it('are met by a peer as its coverage says, with noise where it is weak', () => {
    const [coverage] = makePopulation(0n).coverages;
    const random = createRandom(4n);
    const drawn = Array.from({ length: 4000 }, () => drawCovered(coverage, random));
    const weak = drawn.filter(({ problem }) => coverage.weakFamilies.includes(problem.family));
    assert.ok(weak.length / drawn.length > 0.004 && weak.length / drawn.length < 0.02);
    const noise = (list: typeof drawn): number => list.filter(({ noisy }) => noisy).length / list.length;
    assert.ok(noise(weak) > 0.15 && noise(weak) < 0.65);
    assert.ok(noise(drawn.filter(({ problem }) => keepProbability(coverage, problem) === 1)) < 0.05);
  });

  it('make a pretraining mixture of solving, solving in context and judging', () => {
    const coverage = { ...makePopulation(0n).coverages[1], weakNoise: 0, noise: 0 };
    const random = createRandom(5n);
    const items = Array.from({ length: 3000 }, () => pretrainingItem(coverage, random));
    const share = (kind: string): number => items.filter((item) => item.kind === kind).length / items.length;
    assert.ok(Math.abs(share('solve') - 0.56) < 0.03);
    assert.ok(Math.abs(share('solve-in-context') - 0.18) < 0.03);
    const vocabulary = new Set(demoVocabulary());
    for (const { kind, prompt, completion, tokenWeights } of items) {
      assert.ok(
        `${prompt} ${completion}`.split(' ').every((word) => vocabulary.has(word)),
        prompt,
      );
      assert.equal(tokenWeights.length, completion.split(' ').length);
      if (kind === 'verify') assert.match(completion, /^(yes|no)$/);
      else checkChain(completion.replace(/ <eos>$/, ''));
    }
    assert.ok(items.some(({ prompt }) => /<p\d>.*<p\d>/.test(prompt)));
  });

  it('teach listening: what was heard, in order, and judging rather than solving', () => {
    const population = makePopulation(0n);
    const random = createRandom(6n);
    const [coverage] = population.coverages;
    const problem = drawSplit('pretraining', 200, 9n).find((one) => keepProbability(coverage, one) < 0.1)!;
    const { response } = solve(problem);
    const wrong = corrupt(problem, random).response;
    const turns = [
      { speaker: 2, text: response },
      { speaker: 1, text: wrong },
      { speaker: 0, text: wrong },
    ];
    const item = listeningItem(0, coverage, { problem, turns }, random)!;
    assert.equal(item.prompt, renderPrompt(problem.question, turns.slice(0, 2)));
    assert.equal(item.completion, `${response} <eos>`);
    assert.deepEqual(item.tokenWeights, [1, 3, 1, 1, 2, 1, 2, 2, 2, 1, 3, 1, 3, 1]);
    const hopeless = turns.map((turn) => ({ ...turn, text: wrong }));
    const kept = Array.from({ length: 400 }, () =>
      listeningItem(0, coverage, { problem, turns: hopeless }, random),
    );
    assert.ok(
      kept.filter((one) => one !== null).length < 60,
      'nobody was right: kept at the rate of coverage',
    );
    const alone = {
      problem,
      turns: [turns[2], turns[1], turns[0]].map((turn) => ({ ...turn, text: response })),
    };
    const own = Array.from({ length: 400 }, () => listeningItem(0, coverage, alone, random)).filter(
      (one) => one,
    );
    assert.ok(
      own.length > 80 && own.length < 180,
      `a first speaker hears itself a third of the time: ${own.length}`,
    );
    assert.throws(() => listeningItem(0, coverage, { problem, turns: [] }, random), /speaker 0 said nothing/);
  });

  it('fill a listening block to its size, about half of it with context', () => {
    const random = createRandom(8n);
    const heard = listeningQuestions(random).map(({ problem, order }) => ({
      problem,
      turns: order.map((speaker) => {
        return { speaker, text: (random.float() < 0.8 ? solve(problem) : corrupt(problem, random)).response };
      }),
    }));
    const block = listeningBlock(1, makePopulation(0n).coverages[1], heard, random);
    assert.equal(block.length, LISTENING.blockSteps * LISTENING.batchSize);
    const share = block.filter(({ kind }) => kind === 'solve-in-context').length / block.length;
    assert.ok(share > 0.45 && share < 0.67, `${share}`);
    assert.deepEqual([0, 1, 2, 3].map(listeningTemperature), [0.7, 0.7, 0, 0.7]);
  });

  it('use a vocabulary without gaps, one token a number', () => {
    const vocabulary = demoVocabulary();
    assert.equal(new Set(vocabulary).size, vocabulary.length);
    assert.deepEqual(vocabulary.slice(0, 9), [
      '<pad>',
      '<bos>',
      '<eos>',
      '<r>',
      '<v>',
      '<p0>',
      '<p1>',
      '<p2>',
      '<unk>',
    ]);
    assert.deepEqual(
      numberTokenIds().map((id) => vocabulary[id]),
      Array.from({ length: 100 }, (_, n) => String(n)),
    );
  });
});
