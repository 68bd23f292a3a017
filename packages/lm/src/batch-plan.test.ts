import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { planBatches, roundUp } from './batch-plan.js';

test('every item is in exactly one batch, and no batch of several exceeds a limit', () => {
  const lengths = fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 60 });
  fc.assert(
    fc.property(
      lengths,
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 200 }),
      (all, items, tokens) => {
        const batches = planBatches(all, { maxItems: items, maxTokens: tokens });
        assert.deepEqual(
          batches.flat().sort((a, b) => a - b),
          all.map((_, i) => i),
        );
        for (const batch of batches) {
          assert.ok(batch.length <= items);
          assert.ok(batch.length === 1 || batch.length * Math.max(...batch.map((i) => all[i])) <= tokens);
        }
      },
    ),
  );
});

test('uneven lengths split only where each part is large enough to be worth a pass', () => {
  const lengths = [...new Array<number>(20).fill(100), ...new Array<number>(20).fill(40)];
  const parts = planBatches(lengths, { evenLengths: true });
  assert.deepEqual(
    parts.map((batch) => batch.length),
    [20, 20],
  );
  assert.equal(planBatches(lengths, {}).length, 1);
  assert.equal(planBatches(lengths.slice(15, 25), { evenLengths: true }).length, 1);
});

test('roundUp gives the next multiple', () => {
  assert.deepEqual(
    [0, 1, 16, 17].map((n) => roundUp(n, 16)),
    [0, 16, 16, 32],
  );
});
