import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { createRandom, seedFrom, threefry2x32 } from './random.js';

describe('random', () => {
  it('reproduces the published Threefry-2x32-20 known answers', () => {
    assert.deepEqual(threefry2x32(0, 0, 0, 0), [0x6b200159, 0x99ba4efe]);
    const ones = 0xffffffff;
    assert.deepEqual(threefry2x32(ones, ones, ones, ones), [0x1cb996fc, 0xbb002be7]);
    assert.deepEqual(threefry2x32(0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3), [0xc4923a9c, 0x483df7a0]);
  });

  it('keeps its streams from release to release, since runs are replayed by seed', () => {
    assert.equal(seedFrom('a'), 2990837648042933487n);
    assert.deepEqual(
      Array.from(
        { length: 3 },
        (
          (random) => () =>
            random.integer(0, 999)
        )(createRandom(7n)),
      ),
      [908, 690, 94],
    );
  });

  it('tells seed parts apart', () => {
    assert.notEqual(seedFrom('ab', 'c'), seedFrom('a', 'bc'));
    assert.notEqual(seedFrom('a'), seedFrom('a', ''));
    assert.equal(seedFrom(1n, 2), seedFrom('1', '2'));
    const seeds = new Set(Array.from({ length: 20_000 }, (_, i) => seedFrom('question', i)));
    assert.equal(seeds.size, 20_000);
  });

  it('stays within its ranges and shuffles without loss', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.array(fc.integer()), (seed, values) => {
        const random = createRandom(seed);
        for (let i = 0; i < 20; i++) {
          const x = random.float();
          assert.ok(x >= 0 && x < 1);
          const n = random.integer(-3, 5);
          assert.ok(Number.isInteger(n) && n >= -3 && n <= 5);
          assert.ok(Number.isFinite(random.normal()));
        }
        const sorted = (list: number[]): number[] => [...list].sort((a, b) => a - b);
        assert.deepEqual(sorted(random.shuffle(values)), sorted(values));
      }),
    );
    assert.throws(() => createRandom(1n).pick([]), /empty list/);
  });

  it('is uniform and standard normal to within sampling error', () => {
    const random = createRandom(3n);
    const n = 50_000;
    let [sum, normal, square] = [0, 0, 0];
    for (let i = 0; i < n; i++) {
      sum += random.float();
      const z = random.normal();
      normal += z;
      square += z * z;
    }
    assert.ok(Math.abs(sum / n - 0.5) < 0.006);
    assert.ok(Math.abs(normal / n) < 0.02);
    assert.ok(Math.abs(square / n - 1) < 0.03);
  });
});
