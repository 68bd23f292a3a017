import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createGraph, createSession, createTensor } from '@parley/graph';
import { coarseActivations, fineActivations, int8Linear, quantizeRows } from './int8-linear.js';
import type { ActivationRounding } from './int8-linear.js';
import { LmError } from './lm-error.js';
import { dequantizeOutput, quantizeInt8 } from './quantize.js';

const finite = { noNaN: true, noDefaultInfinity: true, min: Math.fround(-1e38), max: Math.fround(1e38) };
const matrices = fc
  .record({ outputs: fc.integer({ min: 1, max: 70 }), inputs: fc.integer({ min: 1, max: 70 }) })
  .chain((shape) => {
    const count = shape.outputs * shape.inputs;
    const weights = fc.float32Array({ minLength: count, maxLength: count, ...finite });
    return fc.record({ shape: fc.constant(shape), weights });
  });

test('every weight comes back within half a step of its output, and zero comes back as zero', () => {
  fc.assert(
    fc.property(matrices, ({ shape: { outputs, inputs }, weights }) => {
      const quantized = quantizeInt8(weights, outputs, inputs);
      const row = new Float32Array(inputs + 1);
      for (let o = 0; o < outputs; o++) {
        dequantizeOutput(quantized, o, row, 1);
        for (let i = 0; i < inputs; i++) {
          const weight = weights[o * inputs + i];
          // The product of level and scale is rounded to float32.
          const bound = quantized.scales[o] * (0.5 + 2e-5);
          assert.ok(Math.abs(weight - row[1 + i]) <= bound, `${weight} ${row[1 + i]} ${bound}`);
          if (weight === 0) assert.equal(row[1 + i] + 0, 0);
        }
      }
    }),
    { numRuns: 200 },
  );
});

test('a size that does not fit is refused', () => {
  assert.throws(
    () => quantizeInt8(new Float32Array(7), 2, 4),
    (error) =>
      error instanceof LmError && error.reason === 'ARGUMENT_INVALID' && /7 .*\[2, 4\]/.test(error.message),
  );
});

/** Largest error of an activation, as a share of the largest of its row. */
const roundings = [
  ['two planes of activations', () => Promise.resolve(fineActivations), () => 1 / 15_876],
  ['one plane of activations', coarseActivations, ({ levels }: ActivationRounding) => 1 / (2 * levels)],
] as const;

for (const [name, chosen, errorOf] of roundings)
  test(`${name}: products with 8-bit weights lose nothing but the rounding of both, outliers or not`, async () => {
    const [rows, inputs, outputs] = [5, 300, 40];
    const weights = Float32Array.from({ length: outputs * inputs }, (_, i) => Math.sin(i * i));
    const matrix = quantizeInt8(weights, outputs, inputs);
    const rounding = await chosen();
    const g = createGraph('product');
    const x = g.input('x', ['B', inputs]);
    const values = g.initializer('values', [inputs, outputs], matrix.values, 'int8');
    const scales = g.initializer('scales', [outputs], matrix.scales);
    g.output(int8Linear(g, quantizeRows(g, x, rounding), values, scales), 'y');
    await using session = await createSession(g, { threads: 1, spinning: false });
    // One row of zeros, one with an outlier 1000 times the rest, one all extreme, where narrower sums would saturate.
    const data = Float32Array.from({ length: rows * inputs }, (_, i) => {
      const row = Math.floor(i / inputs);
      if (row === 1) return 0;
      if (row === 2) return i % inputs === 7 ? 1000 : Math.cos(i);
      return row === 3 ? 5 : Math.cos(i) * 10 ** (row - 2);
    });
    const run = async (from: number, to: number): Promise<Float32Array> => {
      const part = data.subarray(from * inputs, to * inputs);
      const { y } = await session.run({ x: createTensor('float32', [to - from, inputs], part) });
      return y.data as Float32Array;
    };
    const all = await run(0, rows);
    const exact = new Float32Array(inputs);
    for (let row = 0; row < rows; row++) {
      const own = data.subarray(row * inputs, (row + 1) * inputs);
      const largest = own.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
      for (let o = 0; o < outputs; o++) {
        dequantizeOutput(matrix, o, exact);
        const sum = own.reduce((total, value, i) => total + value * exact[i], 0);
        const bound =
          largest * errorOf(rounding) * exact.reduce((total, value) => total + Math.abs(value), 0);
        const found = all[row * outputs + o];
        assert.ok(
          Math.abs(found - sum) <= bound * 1.01 + 1e-6 * Math.abs(sum),
          `${row} ${o}: ${found} ${sum} ${bound}`,
        );
      }
      assert.deepEqual(await run(row, row + 1), all.slice(row * outputs, (row + 1) * outputs));
    }
  });
