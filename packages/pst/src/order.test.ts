import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { orderPeers } from './order.js';

const peers = ['a', 'b', 'c'];
const key = (index: number): { index: number; promptId: string; seed: bigint } => {
  return { index, promptId: `p${index}`, seed: 1n };
};

describe('order', () => {
  it('keeps, rotates or shuffles the peers', () => {
    assert.deepEqual(orderPeers('fixed', peers, key(4)), ['a', 'b', 'c']);
    assert.deepEqual(orderPeers('rotated', peers, key(4)), ['b', 'c', 'a']);
    const seen = new Set(Array.from({ length: 60 }, (_, i) => orderPeers('random', peers, key(i)).join('')));
    assert.equal(seen.size, 6);
  });

  it('is a permutation that depends on seed and prompt alone', () => {
    const kinds = fc.constantFrom('fixed' as const, 'rotated' as const, 'random' as const);
    fc.assert(
      fc.property(
        kinds,
        fc.uniqueArray(fc.string()),
        fc.nat(),
        fc.string(),
        (kind, names, index, promptId) => {
          const order = orderPeers(kind, names, { index, promptId, seed: 5n });
          assert.deepEqual([...order].sort(), [...names].sort());
          assert.deepEqual(orderPeers(kind, names, { index, promptId, seed: 5n }), order);
          if (kind === 'random') {
            assert.deepEqual(orderPeers(kind, names, { index: index + 1, promptId, seed: 5n }), order);
          }
        },
      ),
    );
  });
});
