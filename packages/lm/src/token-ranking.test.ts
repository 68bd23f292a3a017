import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { likeliestFew, rankLogits } from './token-ranking.js';

test('tokens are ranked as a whole sort would rank them, ties by id', () => {
  const logit = fc.oneof(
    fc.float({ noNaN: true, noDefaultInfinity: true }),
    fc.float({ min: -3, max: 3, noNaN: true }),
    fc.constantFrom(0, 1, 1.0625, -80, -Infinity),
  );
  fc.assert(
    fc.property(fc.array(logit, { minLength: 1, maxLength: 60 }), fc.nat(59), (values, first) => {
      const logits = Float32Array.from(values);
      const order = [...logits.keys()].sort((a, b) => logits[b] - logits[a] || a - b);
      const ranking = rankLogits(logits);
      assert.equal(ranking.length, logits.length);
      const read = (rank: number): number => ranking.token(rank);
      // Where reading begins does not matter.
      if (first < order.length) assert.equal(read(first), order[first]);
      assert.deepEqual(
        order.map((_, rank) => read(rank)),
        order,
      );
      assert.deepEqual(
        order.map((_, rank) => ranking.logit(rank)),
        order.map((token) => logits[token]),
      );
      for (const count of [0, 1, 5]) assert.deepEqual(likeliestFew(logits, count), order.slice(0, count));
    }),
    { numRuns: 500 },
  );
});
