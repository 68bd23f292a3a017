import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createRandom } from '@parley/pst';
import fc from 'fast-check';
import { extractAnswer } from '../answer.js';
import {
  LISTENING,
  listeningBlock,
  listeningItem,
  listeningQuestions,
  listeningTemperature,
  unmarked,
  type ListeningPart,
} from './listening.js';
import { drawCovered, keepProbability, makePopulation } from './population.js';
import { pretrainingItem } from './pretraining.js';
import { renderPrompt } from './prompt.js';
import { heldOutQuestions, unlabelledQuestions } from './questions.js';
import { taskNamed, TASKS } from './registry.js';
import { drawSplit, splitOf } from './split.js';
import type { Task } from './task.js';
import { taskVocabulary } from './tokenizer.js';

const seeds = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const questionOf = (prompt: string): string => /^<bos> (.*?) <(?:r|v|p\d)>/.exec(prompt)![1];

it('a split that has no more questions says how many there are, and does not go on for ever', () => {
  const [task] = TASKS;
  const one = task.sample(createRandom(1n));
  const only: Task = { ...task, sample: () => one };
  const split = splitOf(only, one.question);
  assert.equal(drawSplit(only, split, 1, 1n).length, 1);
  assert.throws(() => drawSplit(only, split, 2, 1n), {
    name: 'RangeError',
    message: `Task word-problems has about 1 different ${split} questions, not 2; ask for fewer`,
  });
});

it('tasks are known by different names', () => {
  assert.equal(new Set(TASKS.map(({ name }) => name)).size, TASKS.length);
  for (const task of TASKS) assert.equal(taskNamed(task.name), task);
  assert.throws(() => taskNamed('sums'), /no task "sums"; there are word-problems, list-edits/);
});

for (const task of TASKS) {
  const vocabulary = new Set(taskVocabulary(task));
  const covered = (text: string): boolean => text.split(' ').every((word) => vocabulary.has(word));

  describe(`task ${task.name}`, () => {
    it('has solutions whose answer is found, and corrupted ones whose answer is wrong', () => {
      fc.assert(
        fc.property(seeds, fc.nat(task.families - 1), (seed, family) => {
          const random = createRandom(seed);
          const problem = task.sample(random, family);
          assert.equal(problem.family, family);
          assert.ok(covered(problem.question), problem.question);
          const right = task.solve(problem);
          const wrong = task.corrupt(problem, random);
          assert.notEqual(wrong.answer, right.answer);
          for (const { response, answer } of [right, wrong]) {
            assert.equal(extractAnswer(response, task.answers), answer);
            assert.ok(covered(response), response);
            assert.ok(response.split(' ').length < task.maxResponseTokens, response);
          }
          assert.ok(task.tokenWeights(right.response).every((weight) => weight > 0));
        }),
        { numRuns: 1000 },
      );
    });

    it('is the same for the same seed', () => {
      fc.assert(
        fc.property(seeds, (seed) => {
          const [one, other] = [createRandom(seed), createRandom(seed)];
          const problem = task.sample(one);
          assert.deepEqual(task.sample(other), problem);
          assert.deepEqual(task.corrupt(problem, one), task.corrupt(problem, other));
        }),
      );
    });

    it('has questions enough, each in one split', () => {
      const held = heldOutQuestions(task, 2000, 1n);
      const unlabelled = unlabelledQuestions(task, 6000, 1n);
      assert.equal(new Set([...held, ...unlabelled].map(({ question }) => question)).size, 8000);
      assert.equal(new Set([...held, ...unlabelled].map(({ promptId }) => promptId)).size, 8000);
      assert.ok(held.every(({ question }) => splitOf(task, question) === 'held-out'));
      assert.ok(unlabelled.every(({ question }) => splitOf(task, question) === 'unlabelled'));
      assert.deepEqual(
        heldOutQuestions(task, 20, 1n),
        held.slice(0, 20),
        'a longer list extends a shorter one',
      );
      assert.notDeepEqual(heldOutQuestions(task, 20, 2n), held.slice(0, 20));
    });

    it('carries no label into training', () => {
      for (const prompt of unlabelledQuestions(task, 50, 3n))
        assert.deepEqual(Object.keys(prompt), ['promptId', 'question']);
      const random = createRandom(1n);
      const [coverage] = makePopulation(task, 1n).coverages;
      for (let i = 0; i < 500; i++) {
        const { prompt } = pretrainingItem(task, coverage, random);
        assert.equal(splitOf(task, questionOf(prompt)), 'pretraining');
      }
    });

    it('has populations with weak spots of one size in different places', () => {
      const problems = drawSplit(task, 'unlabelled', 4000, 1n);
      for (let seed = 0n; seed < 20n; seed++) {
        const { coverages } = makePopulation(task, seed);
        assert.deepEqual(makePopulation(task, seed).coverages, coverages);
        const weak = coverages.map(({ weakFamilies }) => weakFamilies);
        assert.ok(weak.every((families) => families.length === 3));
        assert.equal(new Set(weak.flat()).size, 9, 'two peers know every family');
        assert.equal(
          new Set(coverages.flatMap(({ blindFacts }) => blindFacts)).size,
          3 * task.blindFactsPerPeer,
          'no fact is blind twice',
        );
        const shares = coverages.map(
          (coverage) =>
            problems.filter((problem) => keepProbability(task, coverage, problem) < 0.5).length /
            problems.length,
        );
        assert.ok(Math.max(...shares) - Math.min(...shares) < 0.1, shares.join(' '));
      }
    });

    it('is met by a peer as its coverage says, with noise where it is weak', () => {
      const [coverage] = makePopulation(task, 0n).coverages;
      const random = createRandom(4n);
      const drawn = Array.from({ length: 4000 }, () => drawCovered(task, coverage, random));
      const weak = drawn.filter(({ problem }) => coverage.weakFamilies.includes(problem.family));
      // Three families of ten at that rate beside seven in full.
      const expected = (0.3 * task.weakKeep) / 0.7;
      assert.ok(Math.abs(weak.length / drawn.length / expected - 1) < 0.4, `${weak.length}`);
      const noise = (list: typeof drawn): number => list.filter(({ noisy }) => noisy).length / list.length;
      assert.ok(noise(weak) > 0.15 && noise(weak) < 0.65);
      assert.ok(noise(drawn.filter(({ problem }) => keepProbability(task, coverage, problem) === 1)) < 0.05);
    });

    it('makes a pretraining mixture of solving, solving in context and judging', () => {
      const coverage = { ...makePopulation(task, 0n).coverages[1], weakNoise: 0, noise: 0 };
      const answers = new Map<string, string>();
      const recorded = {
        ...task,
        sample: (...args: Parameters<typeof task.sample>) => {
          const problem = task.sample(...args);
          answers.set(problem.question, task.solve(problem).response);
          return problem;
        },
      };
      const random = createRandom(5n);
      const items = Array.from({ length: 3000 }, () => pretrainingItem(recorded, coverage, random));
      const share = (kind: string): number =>
        items.filter((item) => item.kind === kind).length / items.length;
      assert.ok(Math.abs(share('solve') - 0.56) < 0.03);
      assert.ok(Math.abs(share('solve-in-context') - 0.18) < 0.03);
      for (const { kind, prompt, completion, tokenWeights } of items) {
        assert.ok(covered(`${prompt} ${completion}`), prompt);
        assert.equal(tokenWeights.length, completion.split(' ').length);
        const right = answers.get(questionOf(prompt));
        if (kind === 'verify') assert.equal(completion, prompt.endsWith(`<v> ${right} ?`) ? 'yes' : 'no');
        else assert.equal(completion, `${right} <eos>`);
      }
      assert.ok(items.some(({ prompt }) => /<p\d>.*<p\d>/.test(prompt)));
    });

    it('teaches listening: what was heard, in order, and judging rather than solving', () => {
      const random = createRandom(6n);
      const [coverage] = makePopulation(task, 0n).coverages;
      const rare = (problem: ReturnType<typeof task.sample>) =>
        keepProbability(task, coverage, problem) < 0.1;
      const problem = drawSplit(task, 'pretraining', 200, 9n).find(rare)!;
      const { response } = task.solve(problem);
      const wrong = task.corrupt(problem, random).response;
      const turns = [
        { speaker: 2, text: response },
        { speaker: 1, text: wrong },
        { speaker: 0, text: wrong },
      ];
      const item = listeningItem(task, 0, coverage, { problem, turns }, random)!;
      assert.equal(item.prompt, renderPrompt(problem.question, turns.slice(0, 2)));
      assert.equal(item.completion, `${response} <eos>`);
      assert.deepEqual(
        item.tokenWeights,
        item.completion.split(' ').map((_, i) => task.tokenWeights(response)[i] ?? 1),
      );
      const hopeless = turns.map((turn) => ({ ...turn, text: wrong }));
      const kept = Array.from({ length: 400 }, () =>
        listeningItem(task, 0, coverage, { problem, turns: hopeless }, random),
      );
      assert.ok(
        kept.filter((one) => one !== null).length < 60,
        'nobody was right: kept at the rate of coverage',
      );
      const alone = {
        problem,
        turns: [turns[2], turns[1], turns[0]].map((turn) => ({ ...turn, text: response })),
      };
      const own = Array.from({ length: 400 }, () => listeningItem(task, 0, coverage, alone, random)).filter(
        (one) => one,
      );
      assert.ok(
        own.length > 80 && own.length < 180,
        `a first speaker hears itself a third of the time: ${own.length}`,
      );
      assert.throws(
        () => listeningItem(task, 0, coverage, { problem, turns: [] }, random),
        /speaker 0 said nothing/,
      );
    });

    it('can do without markers, or without the filter, to see what they are for', () => {
      const random = createRandom(3n);
      const { coverages } = makePopulation(task, 0n);
      const problem = drawSplit(task, 'pretraining', 300, 9n).find(
        (one) => keepProbability(task, coverages[0], one) < 0.1,
      )!;
      const turns = [1, 2, 0].map((speaker) => ({ speaker, text: task.corrupt(problem, random).response }));
      const kept = (part: ListeningPart | undefined): number =>
        Array.from({ length: 100 }, () =>
          listeningItem(task, 0, coverages[0], { problem, turns }, random, part),
        ).filter((one) => one !== null).length;
      assert.ok(kept(undefined) < 40);
      assert.equal(kept('filter'), 100, 'what nobody solved is kept too');
      const right = turns.map((turn) => ({ ...turn, text: task.solve(problem).response }));
      const item = listeningItem(task, 0, coverages[0], { problem, turns: right }, random, 'markers')!;
      assert.equal(item.prompt, renderPrompt(problem.question, unmarked(right.slice(0, 2))));
      assert.doesNotMatch(item.prompt, /<p[12]>/);
    });

    it('fills a listening block to its size, about half of it with context', () => {
      const random = createRandom(8n);
      const heard = listeningQuestions(task, random).map(({ problem, order }) => ({
        problem,
        turns: order.map((speaker) => {
          const right = random.float() < 0.8;
          return { speaker, text: (right ? task.solve(problem) : task.corrupt(problem, random)).response };
        }),
      }));
      const block = listeningBlock(task, 1, makePopulation(task, 0n).coverages[1], heard, random);
      assert.equal(block.length, LISTENING.blockSteps * LISTENING.batchSize);
      const share = block.filter(({ kind }) => kind === 'solve-in-context').length / block.length;
      assert.ok(share > 0.45 && share < 0.67, `${share}`);
      assert.deepEqual([0, 1, 2, 3].map(listeningTemperature), [0.7, 0.7, 0, 0.7]);
    });

    it('has a vocabulary without gaps, its ordered words among it', () => {
      const words = taskVocabulary(task);
      assert.equal(vocabulary.size, words.length);
      assert.ok(task.orderedWords.every((word) => vocabulary.has(word)));
      assert.equal(words[0], '<pad>');
    });
  });
}
