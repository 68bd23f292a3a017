import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { firstNonFinite, narrowToBfloat16, narrowToFloat16, widenBfloat16, widenFloat16 } from './dtype.js';

const everyPattern = Uint16Array.from({ length: 65536 }, (_, i) => i);

function widened(widen: typeof widenFloat16, halves: Uint16Array): Float32Array {
  const out = new Float32Array(halves.length);
  widen(halves, out);
  return out;
}

for (const [name, widen, narrow] of [
  ['float16', widenFloat16, narrowToFloat16],
  ['bfloat16', widenBfloat16, narrowToBfloat16],
] as const) {
  const values = widened(widen, everyPattern);

  test(`${name}: every pattern survives widening and narrowing`, () => {
    const back = narrow(values);
    for (let i = 0; i < 65536; i++) {
      if (Number.isNaN(values[i])) assert.ok(Number.isNaN(widened(widen, back.subarray(i, i + 1))[0]));
      else assert.equal(back[i], i);
    }
  });

  test(`${name}: narrowing rounds to the nearest neighbour, ties to even`, () => {
    const lastFinite = name === 'float16' ? 0x7bff : 0x7f7f;
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: lastFinite - 1 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (low, t) => {
          const [a, b] = [values[low], values[low + 1]];
          const x = Math.fround(a + (b - a) * t);
          const got = narrow(Float32Array.of(x, -x));
          const midpoint = (a + b) / 2;
          const expected = x < midpoint || (x === midpoint && low % 2 === 0) ? low : low + 1;
          assert.deepEqual([...got], [expected, expected | 0x8000]);
        },
      ),
      { numRuns: 2000 },
    );
    for (let low = 0; low < lastFinite; low += 97) {
      const midpoint = Math.fround((values[low] + values[low + 1]) / 2);
      assert.equal(narrow(Float32Array.of(midpoint))[0], low % 2 === 0 ? low : low + 1);
    }
  });
}

test('known values: 1/3, the largest finite half, the first that overflows, the smallest subnormal', () => {
  assert.deepEqual(
    [...narrowToFloat16(Float32Array.of(1 / 3, 65504, 65519, 65520, 2 ** -24, 2 ** -25, Infinity))],
    [0x3555, 0x7bff, 0x7bff, 0x7c00, 0x0001, 0x0000, 0x7c00],
  );
  assert.deepEqual(
    [...narrowToBfloat16(Float32Array.of(1 / 3, -Infinity, 3.4e38))],
    [0x3eab, 0xff80, 0x7f80],
  );
});

test('widening writes at an offset and leaves the rest alone', () => {
  const out = new Float32Array(4).fill(7);
  widenFloat16(Uint16Array.of(0x3c00, 0xc000), out, 1);
  assert.deepEqual([...out], [7, 1, -2, 7]);
});

test('firstNonFinite finds NaN and infinities', () => {
  assert.equal(firstNonFinite(Float32Array.of(0, 1, -3e38)), -1);
  assert.equal(firstNonFinite(Float32Array.of(0, -Infinity, NaN)), 1);
  assert.equal(firstNonFinite(Float32Array.of(NaN)), 0);
});
