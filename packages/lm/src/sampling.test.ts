import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { uniformAt } from './random.js';
import { sampleRow } from './sampling.js';

const row = fc.array(fc.float({ min: -20, max: 20, noNaN: true }), { minLength: 1, maxLength: 30 });
const unit = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

function probabilities(logits: Float32Array, temperature: number): number[] {
  const max = Math.max(...logits);
  const weights = [...logits].map((l) => Math.exp((l - max) / temperature));
  const mass = weights.reduce((a, b) => a + b, 0);
  return weights.map((w) => w / mass);
}

test('greedy takes the largest logit, the lowest id among equals', () => {
  const logits = Float32Array.of(9, 1, 3, 3, 2);
  assert.equal(sampleRow(logits, 1, 4, { temperature: 0, topP: 1 }, 0.99).token, 1);
});

test('log-probability and entropy are those at temperature 1, whatever the temperature', () => {
  fc.assert(
    fc.property(row, unit, fc.constantFrom(0, 0.3, 1, 2.5), (values, uniform, temperature) => {
      const logits = Float32Array.from(values);
      const sampled = sampleRow(logits, 0, logits.length, { temperature, topP: 1 }, uniform);
      const p = probabilities(logits, 1);
      assert.ok(Math.abs(sampled.logProb - Math.log(p[sampled.token])) < 1e-6);
      const entropy = p.reduce((sum, q) => sum - (q > 0 ? q * Math.log(q) : 0), 0);
      assert.ok(Math.abs(sampled.entropy - entropy) < 1e-6);
    }),
  );
});

test('the nucleus is the smallest likeliest set that reaches topP', () => {
  fc.assert(
    fc.property(row, unit, fc.double({ min: 0.01, max: 0.999, noNaN: true }), (values, uniform, topP) => {
      const logits = Float32Array.from(values);
      const { token } = sampleRow(logits, 0, logits.length, { temperature: 1, topP }, uniform);
      const p = probabilities(logits, 1);
      // Of two that differ by rounding alone, either may come first.
      const likelier = p.reduce((sum, q) => sum + (q > p[token] * (1 + 1e-9) ? q : 0), 0);
      assert.ok(likelier < topP + 1e-9);
    }),
  );
});

test('samples follow the distribution (chi-square at p = 1e-4)', () => {
  const logits = Float32Array.of(0, 1, -1, 0.5, 2, -3);
  for (const temperature of [0.7, 1]) {
    const draws = 20000;
    const counts = new Array<number>(logits.length).fill(0);
    for (let i = 0; i < draws; i++) {
      counts[sampleRow(logits, 0, logits.length, { temperature, topP: 1 }, uniformAt(11, i)).token]++;
    }
    const expected = probabilities(logits, temperature).map((p) => p * draws);
    const chiSquare = counts.reduce((sum, count, i) => sum + (count - expected[i]) ** 2 / expected[i], 0);
    assert.ok(chiSquare < 25.7, `${chiSquare} at temperature ${temperature}`);
  }
});
