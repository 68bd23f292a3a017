import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createGraph } from './graph.js';
import type { Graph } from './graph.js';
import { toModelBytes } from './model-bytes.js';
import { createSession } from './session.js';
import { createTensor } from './tensor.js';
import type { Value } from './value.js';
import { lowerForWebGpu } from './webgpu-lowering.js';

/** What builds from `x [R, 4]` and `y [R, 4]` that the provider has no kernel for, and which operator that is. */
const cases: [op: string, build: (g: Graph, x: Value, y: Value) => Value[]][] = [
  ['FusedMatMul', (g, x, y) => [g.fusedMatMul(x, y, { transB: true, alpha: 0.3 })]],
  ['FusedMatMul', (g, x, y) => [g.fusedMatMul(x, y, { transA: true, alpha: -2 })]],
  ['FusedMatMul', (g, x, y) => [g.fusedMatMul(x, g.transpose(y, [1, 0]))]],
  ['LogSoftmax', (g, x) => [g.logSoftmax(x), g.logSoftmax(x, 0)]],
  ['Sum', (g, x, y) => [g.sum([x, y]), g.sum([x, y, x, y])]],
  ['ConstantOfShape', (g, x) => [g.add(x, g.constantOfShape(['R', 4], 1.5))]],
  [
    'SimplifiedLayerNormalization',
    (g, x) => {
      const { y, inverseDeviation } = g.rmsNorm(x, g.constant([1, 2, -1, 0.5], [4]), 1e-3);
      return [y, inverseDeviation];
    },
  ],
];

/** Whether a node has this type: field 4 of NodeProto, a string. */
function hasOperator(model: Uint8Array, op: string): boolean {
  return Buffer.from(model).includes(Buffer.concat([Buffer.of(0x22, op.length), Buffer.from(op)]));
}

for (const [i, [op, build]] of cases.entries()) {
  test(`${op} (${i}) computes the same when it is lowered, and is gone`, async () => {
    const g = createGraph('lowered');
    build(g, g.input('x', ['R', 4]), g.input('y', ['R', 4])).forEach((value, k) =>
      g.output(value, `out${k}`),
    );
    const lowered = toModelBytes(g, { lower: lowerForWebGpu });
    assert.ok(hasOperator(toModelBytes(g), op) && !hasOperator(lowered, op));
    const quiet = { threads: 1, spinning: false };
    await using plain = await createSession(g, quiet);
    await using simple = await createSession(lowered, quiet);
    const values = fc.array(fc.float({ min: -80, max: 80, noNaN: true }), { minLength: 8, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(values, values, async (x, y) => {
        const feeds = {
          x: createTensor('float32', [2, 4], Float32Array.from(x)),
          y: createTensor('float32', [2, 4], Float32Array.from(y)),
        };
        const expected = await plain.run(feeds);
        for (const [name, { data, dims }] of Object.entries(await simple.run(feeds))) {
          assert.deepEqual(dims, expected[name].dims);
          (data as Float32Array).forEach((value, at) => {
            const want = expected[name].data[at] as number;
            const bound = 1e-3 + 1e-5 * Math.abs(want);
            assert.ok(Math.abs(value - want) <= bound, `${name}[${at}] is ${value}, not ${want}`);
          });
        }
      }),
      { numRuns: 50 },
    );
  });
}

test('a normalisation whose deviation nobody reads stays one operator', () => {
  const g = createGraph('kept');
  g.output(g.rmsNorm(g.input('x', [2, 4]), g.constant([1, 1, 1, 1], [4]), 1e-3).y, 'y');
  const bytes = toModelBytes(g, { lower: lowerForWebGpu });
  assert.ok(hasOperator(bytes, 'SimplifiedLayerNormalization'));
});
