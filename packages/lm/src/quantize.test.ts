import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createGraph, createSession, createTensor } from '@parley/graph';
import { LmError } from './lm-error.js';
import { dequantizeRow, quantizeInt8 } from './quantize.js';

const matrices = fc
  .record({
    outputs: fc.integer({ min: 1, max: 4 }),
    inputs: fc.integer({ min: 1, max: 70 }),
    block: fc.constantFrom(16, 32, 64),
  })
  .chain((shape) =>
    fc.record({
      shape: fc.constant(shape),
      weights: fc.float32Array({
        minLength: shape.outputs * shape.inputs,
        maxLength: shape.outputs * shape.inputs,
        noNaN: true,
        noDefaultInfinity: true,
        min: Math.fround(-1e38),
        max: Math.fround(1e38),
      }),
    }),
  );

test('every value comes back within half a step of its block, and zero comes back as zero', () => {
  fc.assert(
    fc.property(matrices, ({ shape: { outputs, inputs, block }, weights }) => {
      const quantized = quantizeInt8(weights, outputs, inputs, block);
      const blocks = Math.ceil(inputs / block);
      const row = new Float32Array(inputs + 1);
      for (let o = 0; o < outputs; o++) {
        dequantizeRow(quantized, o, inputs, block, row, 1);
        for (let i = 0; i < inputs; i++) {
          const scale = quantized.scales[o * blocks + Math.floor(i / block)];
          const weight = weights[o * inputs + i];
          // The product of level and scale is rounded to float32.
          assert.ok(
            Math.abs(weight - row[1 + i]) <= scale * (0.5 + 2e-5),
            `${weight} ${row[1 + i]} ${scale}`,
          );
          if (weight === 0) assert.equal(row[1 + i] + 0, 0);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test('MatMulNBits reads the layout as dequantizeRow does', async () => {
  const [outputs, inputs, block] = [5, 48, 32];
  const weights = Float32Array.from({ length: outputs * inputs }, (_, i) => Math.sin(i * i));
  const { packed, scales } = quantizeInt8(weights, outputs, inputs, block);
  const blocks = 2;
  const g = createGraph('read');
  const x = g.input('x', [inputs, inputs]);
  const codes = g.input('packed', [outputs, blocks, block], 'uint8');
  const steps = g.input('scales', [outputs * blocks]);
  g.output(
    g.matMulNBits(x, codes, steps, { inFeatures: inputs, outFeatures: outputs, bits: 8, blockSize: block }),
    'y',
  );
  await using session = await createSession(g, { threads: 1 });
  const identity = new Float32Array(inputs * inputs);
  for (let i = 0; i < inputs; i++) identity[i * inputs + i] = 1;
  const { y } = await session.run({
    x: createTensor('float32', [inputs, inputs], identity),
    packed: createTensor('uint8', [outputs, blocks, block], packed),
    scales: createTensor('float32', [outputs * blocks], scales),
  });
  const row = new Float32Array(inputs);
  for (let o = 0; o < outputs; o++) {
    dequantizeRow({ packed, scales }, o, inputs, block, row);
    for (let i = 0; i < inputs; i++) {
      assert.ok(Math.abs((y.data as Float32Array)[i * outputs + o] - row[i]) < 1e-6);
    }
  }
});

test('a block that MatMulNBits does not take is refused', () => {
  for (const block of [8, 24]) {
    assert.throws(
      () => quantizeInt8(new Float32Array(48), 1, 48, block),
      (error) =>
        error instanceof LmError && error.reason === 'ARGUMENT_INVALID' && /blocks of/.test(error.message),
    );
  }
});
