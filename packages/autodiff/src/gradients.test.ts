import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Graph, Value } from '@parley/graph';
import { createGraph, createSession, createTensor } from '@parley/graph';
import { AutodiffError } from './autodiff-error.js';
import { gradients } from './gradients.js';
import { stopGradient } from './stop-gradient.js';

/** Runs a graph whose only input is `x` and returns its outputs as numbers. */
async function evaluate(g: Graph, x: number[]): Promise<Record<string, number[]>> {
  await using session = await createSession(g, { threads: 1, spinning: false });
  const results = await session.run({ x: createTensor('float32', [x.length], Float32Array.from(x)) });
  return Object.fromEntries(
    Object.entries(results).map(([name, tensor]) => [name, Array.from(tensor.data as Float32Array)]),
  );
}

function refuses(build: () => unknown, ...parts: string[]): void {
  assert.throws(build, (error: unknown) => {
    assert.ok(error instanceof AutodiffError);
    for (const part of parts)
      assert.ok(error.message.includes(part), `"${error.message}" does not say "${part}"`);
    return true;
  });
}

/** One input `x [2]` and the scalar built from it. */
function scalarOf(build: (g: Graph, x: Value) => Value) {
  const g = createGraph('test');
  const x = g.input('x', [2]);
  return { g, x, loss: build(g, x) };
}

test('a value used several times gets the sum of its gradients', async () => {
  // L = sum(x^3 + x) built from shared parts; dL/dx = 3x^2 + 1
  const { g, x, loss } = scalarOf((g, x) => {
    const square = g.mul(x, x);
    return g.reduceSum(g.add(g.mul(square, x), x));
  });
  g.output(gradients(g, loss, [x])[0], 'dx');
  assert.deepEqual((await evaluate(g, [2, -1])).dx, [13, 4]);
});

test('values the target does not depend on get zeros, of their shape', async () => {
  const { g, x, loss } = scalarOf((g, x) => g.reduceSum(x));
  const unused = g.constant([1, 2, 3], [3]);
  const beside = g.neg(x);
  const [du, db] = gradients(g, loss, [unused, beside]);
  g.output(du, 'du');
  g.output(db, 'db');
  assert.deepEqual(await evaluate(g, [1, 2]), { du: [0, 0, 0], db: [0, 0] });
});

test('intermediate values, several targets and seeds', async () => {
  const g = createGraph('targets');
  const x = g.input('x', [2]);
  const middle = g.mul(x, g.scalar(3));
  const targets = [
    { value: g.reduceSum(g.mul(middle, middle)) },
    { value: g.neg(x), seed: g.constant([10, 20], [2]) },
  ];
  const [dMiddle, dx] = gradients(g, targets, [middle, x]);
  g.output(dMiddle, 'dMiddle');
  g.output(dx, 'dx');
  assert.deepEqual(await evaluate(g, [1, 2]), { dMiddle: [6, 12], dx: [8, 16] });
});

test('operators without a gradient end the path; integers never carry one', async () => {
  const { g, x, loss } = scalarOf((g, x) => {
    const positive = g.cast(g.greater(x, g.scalar(0)), 'float32');
    const rounded = g.cast(g.cast(x, 'int64'), 'float32');
    return g.reduceSum(g.mul(x, g.add(g.add(positive, rounded), g.floor(x))));
  });
  g.output(gradients(g, loss, [x])[0], 'dx');
  assert.deepEqual((await evaluate(g, [2.5, -1.5])).dx, [1 + 2 + 2, 0 - 1 - 2]);
});

test('stopGradient makes its argument a constant', async () => {
  const { g, x, loss } = scalarOf((g, x) => g.reduceSum(g.mul(x, stopGradient(g, g.mul(x, x)))));
  g.output(gradients(g, loss, [x])[0], 'dx');
  assert.deepEqual((await evaluate(g, [3, -2])).dx, [9, 4]);
});

test('a gradient can be differentiated again', async () => {
  const { g, x, loss } = scalarOf((g, x) => g.reduceSum(g.mul(g.mul(x, x), x)));
  const [dx] = gradients(g, loss, [x]);
  g.output(gradients(g, g.reduceSum(dx), [x])[0], 'ddx');
  assert.deepEqual((await evaluate(g, [2, -1])).ddx, [12, -6]);
});

test('gradients are added to the sums given, inside a product or beside it', async () => {
  // L = sum(x W^T) + sum(x): dL/dx = column sums of W + 1, dL/dW = x in every row.
  const g = createGraph('sums');
  const x = g.input('x', [2]);
  const w = g.constant([1, 2, 3, 4, 5, 6], [3, 2]);
  const wrt = g.input('w', [3, 2]);
  const loss = g.add(
    g.reduceSum(g.gemm(g.reshape(x, [1, 2]), wrt, { transB: true, alpha: 2 })),
    g.reduceSum(x),
  );
  const start = [g.constant([100, 200], [2]), g.mul(w, g.scalar(10))];
  const [dx, dw] = gradients(g, loss, [x, wrt], start);
  g.output(dx, 'dx');
  g.output(dw, 'dw');
  await using session = await createSession(g, { threads: 1 });
  const results = await session.run({
    x: createTensor('float32', [2], Float32Array.of(7, 8)),
    w: createTensor('float32', [3, 2], Float32Array.of(1, 2, 3, 4, 5, 6)),
  });
  assert.deepEqual([...(results.dx.data as Float32Array)], [100 + 18 + 1, 200 + 24 + 1]);
  assert.deepEqual([...(results.dw.data as Float32Array)], [24, 36, 44, 56, 64, 76]);
  assert.equal(dw.producer?.op, 'Gemm', 'the product itself takes the sum in');
});

test('symbolic shapes differentiate', async () => {
  const g = createGraph('symbolic');
  const x = g.input('x', ['N']);
  const rows = g.expand(g.unsqueeze(g.mul(x, x), 0), [3, 'N']);
  g.output(gradients(g, g.reduceSum(g.reshape(rows, [-1])), [x])[0], 'dx');
  assert.deepEqual((await evaluate(g, [1, 2, 5])).dx, [6, 12, 30]);
});

test('a missing rule is told apart from no gradient, by operator and node', () => {
  const { g, x, loss } = scalarOf((g, x) => g.reduceSum(g.node('Erf', [x], [x])[0]));
  refuses(() => gradients(g, loss, [x]), 'no gradient rule for operator Erf', 'x [2]', 'stopGradient');
  const other = g.input('other', [2]);
  assert.doesNotThrow(() => gradients(g, loss, [other]), 'the operator is not on the path');
});

test('refuses what cannot be differentiated, by name', () => {
  const { g, x, loss } = scalarOf((g, x) => g.reduceSum(x));
  const ids = g.input('ids', [2], 'int64');
  refuses(() => gradients(g, loss, [ids]), 'ids is int64', 'no gradient');
  refuses(() => gradients(g, g.neg(x), [x]), '[2] is not a scalar', 'seed');
  refuses(() => gradients(g, ids, [x]), 'cannot differentiate ids');
  refuses(() => gradients(g, [{ value: loss, seed: x }], [x]), 'seed x [2]', '[]');
  refuses(() => gradients(g, loss, [x], []), '0 sums', '1 values');
  refuses(() => gradients(g, loss, [x], [loss]), `the sum ${loss.name} []`, 'x [2]');
  const inner = g.mul(x, x);
  refuses(() => gradients(g, g.reduceSum(inner), [inner], [x]), inner.name, 'null in place of x');
  refuses(
    () => gradients(g, loss, [createGraph('elsewhere').input('w', [1])]),
    'w belongs to graph "elsewhere"',
  );
});
