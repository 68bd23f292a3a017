import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Graph } from './graph.js';
import { assertDevice } from './assert-device.js';
import { createGraph } from './graph.js';
import { GraphError } from './graph-error.js';
import { toModelBytes } from './model-bytes.js';
import { createSession } from './session.js';
import { createTensor } from './tensor.js';
import type { Value } from './value.js';

const quiet = { threads: 1, spinning: false };

async function evaluate(
  build: (g: Graph, x: Value) => Value,
  data: number[],
  shape = [data.length],
): Promise<number[]> {
  const g = createGraph('evaluate');
  g.output(build(g, g.input('x', shape)), 'y');
  await using session = await createSession(g, quiet);
  const { y } = await session.run({ x: createTensor('float32', shape, Float32Array.from(data)) });
  return Array.from(y.data as Float32Array, Number);
}

test('runs symbolic shapes, reshaping back by sizes read at run time', async () => {
  const g = createGraph('symbolic');
  const x = g.input('x', ['B', 'T', 4]);
  const flat = g.reshape(x, [-1, 4]);
  const back = g.reshape(g.mul(flat, g.scalar(2)), ['B', 'T', 2, 2]);
  g.output(g.add(back, g.constantOfShape(['B', 'T', 2, 2], 1)), 'y');
  await using session = await createSession(g, quiet);
  const input = createTensor('float32', [2, 3, 4], new Float32Array(24).fill(3));
  const { y } = await session.run({ x: input });
  assert.deepEqual(y.dims, [2, 3, 2, 2]);
  assert.ok((y.data as Float32Array).every((value) => value === 7));
});

test('writes into the tensors it is given and returns them', async () => {
  const g = createGraph('fetch');
  const x = g.input('x', [2]);
  g.output(g.neg(x), 'y');
  await using session = await createSession(g, quiet);
  const y = createTensor('float32', [2]);
  const feeds = { x: createTensor('float32', [2], Float32Array.of(1, 2)) };
  const results = await session.run(feeds, { y });
  assert.equal(results.y, y);
  assert.deepEqual([...(y.data as Float32Array)], [-1, -2]);
  (feeds.x.data as Float32Array)[0] = 5;
  await session.run(feeds, { y });
  assert.equal(y.data[0], -5);
});

test('an output may be an input, a constant, or one value under two names', async () => {
  const g = createGraph('outputs');
  const x = g.input('x', [1]);
  const y = g.neg(x);
  for (const name of ['a', 'b']) g.output(y, name);
  g.output(x, 'copy');
  g.output(g.scalar(7), 'seven');
  g.output(g.abs(y), 'after');
  await using session = await createSession(g, quiet);
  const results = await session.run({ x: createTensor('float32', [1], Float32Array.of(3)) });
  const numbers = Object.fromEntries(Object.entries(results).map(([name, tensor]) => [name, tensor.data[0]]));
  assert.deepEqual(numbers, { a: -3, b: -3, copy: 3, seven: 7, after: 3 });
});

test('leaves out what no output needs, but keeps every piece of a split', async () => {
  const g = createGraph('pruned');
  const x = g.input('x', [2, 3]);
  const [, second] = g.split(x, 1, [1, 2]);
  g.node('NoSuchOperator', [x], [{ shape: [], dtype: 'float32' }]);
  g.output(second, 'y');
  await using session = await createSession(g, quiet);
  const { y } = await session.run({ x: createTensor('float32', [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6)) });
  assert.deepEqual([...(y.data as Float32Array)], [2, 3, 5, 6]);
});

test('If runs one branch, which may read the outer graph', async () => {
  const g = createGraph('outer');
  const x = g.input('x', [1]);
  const y = g.mul(x, g.scalar(10));
  const branch = (name: string, build: (inner: Graph) => Value) => {
    const inner = createGraph(name, { parent: g });
    inner.output(build(inner), `${name}/result`);
    return { graph: inner };
  };
  const branches = {
    then_branch: branch('then', (inner) => inner.neg(y)),
    else_branch: branch('else', (inner) => inner.add(x, inner.scalar(1))),
  };
  g.output(
    g.node('If', [g.input('flag', [], 'bool')], [{ shape: [1], dtype: 'float32' }], branches)[0],
    'result',
  );
  await using session = await createSession(g, quiet);
  for (const [flag, expected] of [
    [1, -20],
    [0, 3],
  ]) {
    const feeds = {
      x: createTensor('float32', [1], Float32Array.of(2)),
      flag: createTensor('bool', [], Uint8Array.of(flag)),
    };
    assert.equal((await session.run(feeds)).result.data[0], expected);
  }
});

test('reads external data beside the model file', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'parley-graph-'));
  try {
    const g = createGraph('external');
    const w = g.initializer('w', [2], { location: 'w.bin', offsetBytes: 4, lengthBytes: 8 });
    g.output(g.mul(g.input('x', [2]), w), 'y');
    await writeFile(join(folder, 'w.bin'), new Uint8Array(Float32Array.of(9, 2, 3).buffer));
    await writeFile(join(folder, 'model.onnx'), toModelBytes(g));
    await using session = await createSession(join(folder, 'model.onnx'), quiet);
    const { y } = await session.run({ x: createTensor('float32', [2], Float32Array.of(1, 1)) });
    assert.deepEqual([...(y.data as Float32Array)], [2, 3]);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('gelu is the tanh approximation and silu x sigmoid(x), within float32 rounding', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.double({ min: -12, max: 12, noNaN: true }), { minLength: 1, maxLength: 64 }),
      async (xs) => {
        const inputs = Array.from(Float32Array.from(xs));
        const gelu = await evaluate((g, x) => g.geluTanh(x), inputs);
        const silu = await evaluate((g, x) => g.silu(x), inputs);
        inputs.forEach((x, i) => {
          const tanh = 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
          const slack = 1e-6 * Math.max(1, Math.abs(x));
          assert.ok(Math.abs(gelu[i] - tanh) <= slack, `gelu(${x}) = ${gelu[i]}, not ${tanh}`);
          assert.ok(Math.abs(silu[i] - x / (1 + Math.exp(-x))) <= slack, `silu(${x}) = ${silu[i]}`);
        });
      },
    ),
    { numRuns: 25 },
  ));

test('operators agree with plain JavaScript', async () => {
  const data = [3, -1, 2, 0.5, 4, -2];
  const shape = [2, 3];
  assert.deepEqual(await evaluate((g, x) => g.topK(x, 2).values, data, shape), [3, 2, 4, 0.5]);
  assert.deepEqual(await evaluate((g, x) => g.cumSum(x, 1), data, shape), [3, 2, 4, 0.5, 4.5, 2.5]);
  assert.deepEqual(await evaluate((g, x) => g.reduceMax(x, { axes: [0] }), data, shape), [3, 4, 2]);
  assert.deepEqual(await evaluate((g, x) => g.cast(g.argMax(x, 1), 'float32'), data, shape), [0, 1]);
  assert.deepEqual(await evaluate((g, x) => g.slice(x, 1, -2, 3), data, shape), [-1, 2, 4, -2]);
  assert.deepEqual(await evaluate((g, x) => g.pad(x, 1, 1, 0), data, shape), [0, 3, -1, 2, 0, 0.5, 4, -2]);
  assert.deepEqual(await evaluate((g, x) => g.transpose(x, [1, 0]), data, shape), [3, 0.5, -1, 4, 2, -2]);
  assert.deepEqual(
    await evaluate((g, x) => g.min(g.max(x, g.scalar(0)), g.scalar(2)), data, shape),
    [2, 0, 2, 0.5, 2, 0],
  );
  assert.deepEqual(
    await evaluate((g, x) => g.mul(x, g.range(g.scalar(0), g.scalar(3), g.scalar(1), 3)), data, shape),
    [0, -1, 4, 0, 4, -4],
  );
  assert.deepEqual(
    await evaluate((g, x) => g.gatherRows(x, g.constant([2, 0], [2, 1], 'int64')), data, shape),
    [2, 0.5],
  );
});

test('int8Product multiplies integers exactly and scales each column', async () => {
  const weights = Int8Array.of(127, -127, 3, 5, -2, 0);
  const result = await evaluate(
    (g, x) =>
      g.int8Product(
        g.cast(x, 'uint8'),
        g.initializer('w', [3, 2], weights, 'int8'),
        g.constant([0.5, 0.25], [2]),
        { zeroPoint: 64 },
      ),
    [127, 1, 64, 64, 65, 0],
    [2, 3],
  );
  const rows = [
    [63, -63, 0],
    [0, 1, -64],
  ];
  const column = (row: number[], c: number) => row.reduce((sum, x, k) => sum + x * weights[2 * k + c], 0);
  assert.deepEqual(
    result,
    rows.flatMap((row) => [0.5 * column(row, 0), 0.25 * column(row, 1)]),
  );
});

test('bad feeds and fetches are named', async () => {
  const g = createGraph('bad');
  g.output(g.neg(g.input('x', ['N', 2])), 'y');
  const session = await createSession(g, quiet);
  const x = createTensor('float32', [1, 2]);
  await assert.rejects(session.run({}), /the input "x" is not fed/);
  await assert.rejects(session.run({ x }, ['z']), /no output "z"/);
  await assert.rejects(
    session.run({ x: createTensor('float32', [1, 3]) }),
    /"x" takes float32 \[N,2\], got float32 \[1,3\]/,
  );
  await assert.rejects(
    session.run({ x: createTensor('int32', [1, 2]) }),
    /"x" takes float32 \[N,2\], got int32/,
  );
  await session.dispose();
  await session.dispose();
  await assert.rejects(session.run({ x }), /disposed/);
});

test('an invalid model and a device that is not there are errors that say why', async () => {
  const g = createGraph('invalid');
  g.output(g.node('NoSuchOperator', [g.input('x', [1])], [{ shape: [1], dtype: 'float32' }])[0], 'y');
  await assert.rejects(createSession(g, quiet), (error: unknown) => {
    assert.ok(error instanceof GraphError);
    assert.match(error.message, /NoSuchOperator/);
    return true;
  });
  assert.throws(() => toModelBytes(createGraph('empty')), /graph "empty" has no outputs/);
  const missing = process.platform === 'darwin' ? 'dml' : 'coreml';
  await assert.rejects(assertDevice(missing), new RegExp(`device "${missing}" cannot run here: .* only\\.`));
  await assert.rejects(createSession(g, { ...quiet, device: missing }), /\[(dml|coreml)\] backend not found/);
});
