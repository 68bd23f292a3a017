import assert from 'node:assert/strict';
import { test } from 'node:test';
import { causalMask, extendMask, maskedScore } from './attention-mask.js';
import { ropeFrequencies, ropeTables } from './rope.js';

test('frequencies fall geometrically from 1, and llama3 scaling stretches only long wavelengths', () => {
  const plain = ropeFrequencies({ headDim: 64, rope: { theta: 500000, scaling: null } });
  assert.equal(plain[0], 1);
  assert.ok(Math.abs(plain[16] - 500000 ** -0.5) < 1e-8);
  const scaling = { factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 };
  const scaled = ropeFrequencies({ headDim: 64, rope: { theta: 500000, scaling } });
  assert.equal(scaled[0], plain[0]);
  assert.ok(Math.abs(scaled[31] * 32 - plain[31]) < 1e-12);
  scaled.forEach((value, i) => assert.ok(value <= plain[i] && value >= plain[i] / 32 - 1e-12));
  assert.ok(scaled.some((value, i) => value < plain[i] * 0.99 && value > (plain[i] / 32) * 1.01));
});

test('tables hold the cosine and sine of position times frequency', () => {
  const { cos, sin } = ropeTables({ headDim: 4, rope: { theta: 100, scaling: null } }, 3);
  assert.ok(Math.abs(cos[2 * 2 + 1] - Math.cos(0.2)) < 1e-6);
  assert.ok(Math.abs(sin[2 * 2 + 0] - Math.sin(2)) < 1e-6);
  assert.deepEqual([...cos.subarray(0, 2), ...sin.subarray(0, 2)], [1, 1, 0, 0]);
});

test('new tokens see of the cache and of one another what a causal pass sees', () => {
  const [length, capacity] = [9, 12];
  for (const window of [null, 1, 3, 20]) {
    const whole = causalMask(length, window);
    for (const start of [0, 1, 5]) {
      const tokens = length - start;
      const width = tokens + capacity;
      // The second row of the mask: rows do not run into one another.
      const mask = extendMask([3, start], tokens, capacity, window).subarray(tokens * width);
      for (let t = 0; t < tokens; t++) {
        const own = mask.subarray(t * width, t * width + tokens);
        const past = mask.subarray(t * width + tokens, (t + 1) * width);
        const seen = [...past.subarray(0, start), ...own];
        assert.deepEqual(seen, [...whole.subarray((start + t) * length, (start + t + 1) * length)]);
        assert.ok(past.subarray(start).every((score) => score === maskedScore));
      }
    }
  }
});
