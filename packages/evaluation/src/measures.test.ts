import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { accuracy, gradeAll, isExactMatch, passAtK } from './exact-match.js';
import { areaUnderCurve, verifierGap, type ScoredSample } from './gap.js';
import { meanChange, meanChanges, pairedChange, wilsonInterval } from './interval.js';

const near = (actual: number | null, expected: number, tolerance = 1e-9): void =>
  assert.ok(actual !== null && Math.abs(actual - expected) <= tolerance, `${actual} is not ${expected}`);

describe('exact match', () => {
  it('grades responses against labels', () => {
    assert.ok(isExactMatch('so the answer is 7.0', '7'));
    assert.ok(isExactMatch('so \\boxed{\\frac{\\sqrt{3}}{3}}', '1/\\sqrt{3}'));
    assert.ok(isExactMatch('The answer is x = 3 and y = 4.', '3, 4'));
    assert.ok(!isExactMatch(null, '7'));
    assert.ok(!isExactMatch('7', '7', { forms: ['marker'] }));
    const questions = [{ promptId: 'p', question: 'q', answer: '7' }];
    assert.deepEqual(gradeAll(['A 7'], questions), [true]);
    assert.throws(() => gradeAll([], questions), /0 responses for 1 questions/);
    assert.equal(accuracy([true, false]), 0.5);
    assert.equal(accuracy([]), 0);
  });

  it('estimates pass@k without bias', () => {
    near(passAtK(4, 1, 1), 0.25);
    near(passAtK(4, 2, 2), 1 - 1 / 6);
    assert.equal(passAtK(4, 0, 4), 0);
    assert.equal(passAtK(4, 3, 2), 1);
    assert.throws(() => passAtK(2, 1, 3), /needs at least 3 samples/);
  });
});

describe('interval', () => {
  it('gives Wilson intervals', () => {
    const { low, high } = wilsonInterval(8, 10);
    near(low, 0.4901625, 1e-6);
    near(high, 0.9433178, 1e-6);
    assert.deepEqual(wilsonInterval(0, 0), { low: 0, high: 1 });
    assert.equal(wilsonInterval(0, 20).low, 0);
    assert.equal(wilsonInterval(20, 20).high, 1);
  });

  it('bootstraps paired changes, reproducibly, and counts flips', () => {
    const before = Array.from({ length: 1000 }, (_, i) => i % 2 === 0);
    const after = before.map((was, i) => (i % 20 === 1 ? true : i % 50 === 0 ? false : was));
    const change = pairedChange(before, after, { seed: 1n });
    assert.equal(change.wrongToRight, 50);
    assert.equal(change.rightToWrong, 20);
    near(change.delta, 0.03);
    // Standard error of the mean difference: sqrt((70/1000 − 0.03²)/1000) = 0.0083.
    near(change.ci95.low, 0.03 - 1.96 * 0.0083, 0.003);
    near(change.ci95.high, 0.03 + 1.96 * 0.0083, 0.003);
    assert.deepEqual(pairedChange(before, after, { seed: 1n }), change);
    assert.throws(() => pairedChange([true], [], { seed: 1n }), /not 1 and 0/);
    assert.throws(() => meanChange([], { seed: 1n }), /at least one/);
  });

  it('of many lists is that of each, whatever their lengths', () => {
    const lists = [7, 30, 7].map((n, list) =>
      Array.from({ length: n }, (_, i) => ((i * (list + 2)) % 3) - 1),
    );
    assert.deepEqual(
      meanChanges(lists, { seed: 3n }),
      lists.map((list) => meanChange(list, { seed: 3n })),
    );
    assert.throws(() => meanChanges([[1], []], { seed: 1n }), /at least one/);
  });

  it('covers the truth about as often as it says', () => {
    let covered = 0;
    for (let run = 0; run < 100; run++) {
      const after = Array.from({ length: 200 }, (_, i) => (i * 7919 + run * 104_729) % 1000 < 300);
      const { ci95 } = meanChange(after.map(Number), { seed: BigInt(run), resamples: 200 });
      if (ci95.low <= 0.3 && 0.3 <= ci95.high) covered++;
    }
    assert.ok(covered >= 90, `${covered} of 100`);
  });
});

describe('verifier gap', () => {
  const samples = (...pairs: [boolean, number][]): ScoredSample[] =>
    pairs.map(([correct, score]) => ({ correct, score }));

  it('is what choosing by the score adds', () => {
    const gap = verifierGap([
      samples([true, 2], [false, 1]),
      samples([true, 0], [false, 3], [false, 3], [true, 3]),
    ]);
    near(gap.generatorAccuracy, 0.5);
    near(gap.selectedAccuracy, (1 + 1 / 3) / 2);
    near(gap.gap, 1 / 6);
    near(gap.relativeGap, 1 / 3);
    near(gap.withinAuc ?? null, (1 + (0.5 + 0.5 + 0 + 0) / 4) / 2);
  });

  it('reweighs softly when asked, and tends to the best as the temperature falls', () => {
    const question = [samples([true, 1], [false, 0])];
    near(verifierGap(question, { kind: 'softmax', temperature: 1 }).selectedAccuracy, Math.E / (Math.E + 1));
    near(verifierGap(question, { kind: 'softmax', temperature: 0.01 }).selectedAccuracy, 1);
  });

  it('is defined at the edges', () => {
    const perfect = verifierGap([samples([true, NaN])]);
    assert.deepEqual(
      [perfect.generatorAccuracy, perfect.selectedAccuracy, perfect.gap, perfect.relativeGap, perfect.auc],
      [1, 1, 0, null, null],
    );
    assert.equal(verifierGap([samples([true, NaN], [false, -Infinity])]).selectedAccuracy, 0.5);
    assert.equal(
      verifierGap([samples([true, Infinity], [false, 1])], { kind: 'softmax', temperature: 1 }).gap,
      0.5,
    );
    assert.throws(() => verifierGap([[]]), /question 0 has no samples/);
  });

  it('has the AUC that counting pairs gives', () => {
    const sample = fc.record({ correct: fc.boolean(), score: fc.integer({ min: 0, max: 5 }) });
    fc.assert(
      fc.property(fc.array(sample), (list) => {
        const right = list.filter(({ correct }) => correct);
        const wrong = list.filter(({ correct }) => !correct);
        const wins = right.flatMap((a) =>
          wrong.map((b) => (a.score > b.score ? 1 : a.score === b.score ? 0.5 : 0)),
        );
        const auc = areaUnderCurve(list);
        if (wins.length === 0) assert.equal(auc, null);
        else near(auc, wins.reduce((x: number, y) => x + y, 0) / wins.length);
      }),
    );
  });
});
