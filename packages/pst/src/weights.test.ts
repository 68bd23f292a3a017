import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { createRandom } from './random.js';
import { PAPER, type WeightRecipe } from './recipe.js';
import { rawWeight, weighBatch, type WeighedAnswer } from './weights.js';

const anyNumber = fc.oneof(
  fc.double(),
  fc.constantFrom(NaN, Infinity, -Infinity, 0, -0, 1e308, -1e308, 5e-324),
);
const answer = (pmi: fc.Arbitrary<number | null>): fc.Arbitrary<WeighedAnswer> =>
  fc.record({ pmi, disagrees: fc.boolean(), author: fc.boolean() });
const recipe: fc.Arbitrary<WeightRecipe> = fc
  .record({
    kind: fc.constantFrom('sigmoid', 'exponential', 'uniform', 'disagree'),
    temperature: fc.double({ min: 1e-6, max: 1e6, noNaN: true }),
    beta: fc.double({ min: 0, max: 1e6, noNaN: true }),
    baseline: fc.constantFrom('zero', 'batch-median', 'running-median'),
    min: fc.double({ min: 0, max: 5, noNaN: true }),
    max: fc.double({ min: 0, max: 5, noNaN: true }),
    normalize: fc.boolean(),
    author: fc.constantFrom('neutral', 'pmi', 'skip'),
    ablation: fc.constantFrom('none', 'reversed', 'shuffled'),
  } as const)
  .map((drawn) => ({ ...drawn, min: Math.min(drawn.min, drawn.max), max: Math.max(drawn.min, drawn.max) }));

const plain = (pmi: number | null): WeighedAnswer => ({ pmi, disagrees: true, author: false });
const weigh = (
  changes: Partial<WeightRecipe>,
  pmis: readonly (number | null)[],
): readonly (number | null)[] =>
  weighBatch({ ...PAPER.weight, ...changes }, pmis.map(plain), { random: createRandom(1n) }).weights;

describe('weights', () => {
  it('are finite and within bounds for every input, finite or not', () => {
    const batch = fc.array(answer(fc.option(anyNumber)), { maxLength: 12 });
    fc.assert(
      fc.property(recipe, batch, fc.array(anyNumber), (rule, answers, recentMedians) => {
        const result = weighBatch(rule, answers, { recentMedians, random: createRandom(1n) });
        assert.equal(result.weights.length, answers.length);
        result.weights.forEach((weight, i) => {
          if (weight === null) assert.ok(rule.author === 'skip' && answers[i].author);
          else assert.ok(weight >= rule.min && weight <= rule.max, `${weight} in [${rule.min}, ${rule.max}]`);
        });
        assert.ok(Number.isFinite(result.baseline));
        assert.ok(result.recentMedians.every(Number.isFinite));
      }),
      { numRuns: 1000 },
    );
  });

  it('stay within bounds even if the recipe itself holds NaN', () => {
    for (const changes of [
      { temperature: NaN },
      { kind: 'exponential', beta: NaN },
      { temperature: 0 },
    ] as const) {
      for (const weight of weigh(changes, [1, 0, null, NaN, Infinity]))
        assert.ok(weight! >= 0 && weight! <= 10);
    }
  });

  it('fall as PMI rises, and rise with it when reversed', () => {
    const kinds = fc.constantFrom('sigmoid' as const, 'exponential' as const);
    fc.assert(
      fc.property(kinds, fc.double({ noNaN: true }), fc.double({ noNaN: true }), (kind, x, y) => {
        const [low, high] = x < y ? [x, y] : [y, x];
        const [a, b] = weigh({ kind, normalize: false }, [low, high]) as [number, number];
        assert.ok(a >= b);
        const [c, d] = weigh({ kind, normalize: false, ablation: 'reversed' }, [low, high]) as [
          number,
          number,
        ];
        assert.ok(c <= d);
      }),
    );
  });

  it('are sigmoid(−8 · nPMI) in the paper preset', () => {
    const [weight] = weigh({ normalize: false }, [0.25]);
    assert.ok(Math.abs(weight! - 1 / (1 + Math.exp(2))) < 1e-15);
    assert.equal(rawWeight(PAPER.weight, plain(0), 0), 0.5);
    assert.equal(rawWeight(PAPER.weight, plain(null), 0.3), 0.5);
  });

  it('have mean 1 when normalised and no bound cuts in', () => {
    const pmis = fc.array(fc.double({ min: -0.2, max: 0.2, noNaN: true }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(pmis, (values) => {
        const weights = weigh({ max: 1000 }, values) as number[];
        assert.ok(Math.abs(weights.reduce((a, b) => a + b, 0) / weights.length - 1) < 1e-9);
      }),
    );
    assert.deepEqual(weigh({}, [Infinity, Infinity]), [0, 0], 'a batch without weight is left alone');
  });

  it('do not depend on the order of the batch, on a common shift under a median, or on the unit of PMI', () => {
    const pmis = fc.array(fc.double({ min: -3, max: 3, noNaN: true }), { minLength: 1, maxLength: 9 });
    const close = (a: readonly (number | null)[], b: readonly (number | null)[]): void =>
      a.forEach((weight, i) => assert.ok(Math.abs(weight! - b[i]!) < 1e-9));
    fc.assert(
      fc.property(pmis, fc.double({ min: -3, max: 3, noNaN: true }), (values, shift) => {
        const base = weigh({ baseline: 'batch-median' }, values);
        close(weigh({ baseline: 'batch-median' }, [...values].reverse()), [...base].reverse());
        close(
          weigh(
            { baseline: 'batch-median' },
            values.map((value) => value + shift),
          ),
          base,
        );
        const doubled = values.map((value) => 2 * value);
        close(weigh({ baseline: 'batch-median', temperature: 2 / 8 }, doubled), base);
      }),
    );
  });

  it('subtract zero, the batch median, or the median of recent batch medians', () => {
    const run = (baseline: WeightRecipe['baseline'], recentMedians: number[]): number =>
      weighBatch({ ...PAPER.weight, baseline }, [1, 2, 4].map(plain), { recentMedians }).baseline;
    assert.equal(run('zero', [9]), 0);
    assert.equal(run('batch-median', [9]), 2);
    assert.equal(run('running-median', [9, 10]), 9);
    const long = weighBatch(PAPER.weight, [plain(1)], { recentMedians: Array.from({ length: 50 }, () => 3) });
    assert.equal(long.recentMedians.length, 16);
    assert.equal(long.recentMedians.at(-1), 1);
  });

  it('give an author the neutral weight, its own, or none, and keep it out of the others', () => {
    const answers = [plain(0), plain(0.1), { ...plain(5), author: true }];
    const run = (author: WeightRecipe['author']): readonly (number | null)[] =>
      weighBatch({ ...PAPER.weight, author }, answers).weights;
    assert.equal(run('neutral')[2], 1);
    assert.equal(run('skip')[2], null);
    assert.ok(run('pmi')[2]! < 1e-6);
    assert.deepEqual(run('neutral').slice(0, 2), run('skip').slice(0, 2));
  });

  it('shuffle without changing the multiset, and refuse to without randomness', () => {
    const values = Array.from({ length: 30 }, (_, i) => i / 40);
    const [straight, mixed] = [weigh({}, values), weigh({ ablation: 'shuffled' }, values)];
    assert.notDeepEqual(mixed, straight);
    assert.deepEqual([...mixed].sort(), [...straight].sort());
    assert.throws(() => weighBatch({ ...PAPER.weight, ablation: 'shuffled' }, [plain(1)]), /needs a source/);
  });

  it('are 1 where answers differ and 0 elsewhere for kind disagree', () => {
    const answers = [true, false].map((disagrees) => ({ pmi: null, disagrees, author: false }));
    const rule = { ...PAPER.weight, kind: 'disagree', normalize: false } as const;
    assert.deepEqual(weighBatch(rule, answers).weights, [1, 0]);
    assert.deepEqual(weighBatch({ ...rule, ablation: 'reversed' }, answers).weights, [0, 1]);
  });
});
