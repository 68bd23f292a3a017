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
        const batches = planBatches(all, items, tokens);
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

test('roundUp gives the next multiple', () => {
  assert.deepEqual(
    [0, 1, 16, 17].map((n) => roundUp(n, 16)),
    [0, 16, 16, 32],
  );
});
