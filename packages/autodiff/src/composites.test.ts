import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Graph, Tensor, Value } from '@parley/graph';
import { createGraph, createSession, createTensor } from '@parley/graph';
import { attention } from './attention.js';
import { AutodiffError } from './autodiff-error.js';
import { addRowGradients, embedding } from './embedding.js';
import { geGluTanh, swiGlu } from './gated-units.js';
import { gradients } from './gradients.js';
import { linear } from './linear.js';
import { vocabularyHead } from './vocabulary-head.js';

function noise(count: number, seed: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => Math.sin((i + 1) * (seed + 1.7)));
}

/** Feeds every float input with noise and returns what the graph computes. */
async function run(g: Graph, feeds: Record<string, Tensor> = {}): Promise<Record<string, Float32Array>> {
  await using session = await createSession(g, { threads: 1, spinning: false });
  const all = { ...feeds };
  g.inputs.forEach((input, i) => {
    const shape = input.shape as number[];
    all[input.name] ??= createTensor(
      'float32',
      shape,
      noise(
        shape.reduce((a, b) => a * b, 1),
        i,
      ),
    );
  });
  const results = await session.run(all);
  return Object.fromEntries(
    Object.entries(results).map(([name, tensor]) => [name, tensor.data as Float32Array]),
  );
}

function close(actual: Float32Array, expected: Float32Array, tolerance = 1e-5): void {
  assert.equal(actual.length, expected.length);
  actual.forEach((value, i) =>
    assert.ok(Math.abs(value - expected[i]) <= tolerance, `[${i}]: ${value} is not ${expected[i]}`),
  );
}

/** Builds a composite and the same function of plain operators; values and all gradients must agree. */
async function agree(
  shapes: number[][],
  fused: (g: Graph, inputs: Value[]) => Value,
  plain: (g: Graph, inputs: Value[]) => Value,
): Promise<void> {
  const g = createGraph('agree');
  const inputs = shapes.map((shape, i) => g.input(`x${i}`, shape));
  const builds = { fused, plain };
  for (const [name, build] of Object.entries(builds)) {
    const y = build(g, inputs);
    const weights = g.constant(
      noise(
        y.shape.reduce<number>((a, b) => a * Number(b), 1),
        9,
      ),
      y.shape as number[],
    );
    g.output(y, `${name}.y`);
    const loss = g.reduceSum(g.mul(y, weights));
    gradients(g, loss, inputs).forEach((gradient, i) => g.output(gradient, `${name}.d${i}`));
  }
  const results = await run(g);
  for (const what of ['y', ...shapes.map((_, i) => `d${i}`)])
    close(results[`fused.${what}`], results[`plain.${what}`]);
}

const tokens = 5;
const labelsOf = (g: Graph) => g.constant([3, 0, 3, 1, 2], [tokens], 'int64');

test('attention equals its definition, values and gradients, with and without a soft cap', async () => {
  for (const softCap of [undefined, 2])
    await agree(
      [
        [2, 2, 6, 4],
        [2, 2, 3, 4],
        [2, 2, 3, 4],
        [2, 1, 1, 3, 3],
      ],
      (g, [q, k, v, mask]) => attention(g, q, k, v, { scale: 0.5, mask: stop(g, mask), softCap }),
      (g, [q, k, v, mask]) => {
        let scores = g.mul(g.matMul(q, g.transpose(k, [0, 1, 3, 2])), g.scalar(0.5));
        if (softCap) scores = g.mul(g.tanh(g.div(scores, g.scalar(softCap))), g.scalar(softCap));
        const rows = g.reshape(g.concat([stop(g, mask), stop(g, mask)], 3), [2, 1, 6, 3]);
        return g.matMul(g.softmax(g.add(scores, rows)), v);
      },
    );
});
/** The mask is data, so that both sides must agree that it has no gradient. */
function stop(g: Graph, mask: Value): Value {
  return g.cast(g.cast(mask, 'int32'), 'float32');
}

test('gated units equal their definitions', async () => {
  const shapes = [
    [3, 4],
    [3, 4],
  ];
  await agree(
    shapes,
    (g, [a, b]) => swiGlu(g, a, b),
    (g, [a, b]) => g.mul(g.silu(a), b),
  );
  await agree(
    shapes,
    (g, [a, b]) => geGluTanh(g, a, b),
    (g, [a, b]) => g.mul(g.geluTanh(a), b),
  );
});

test('linear equals x w^T + bias + scale (x a^T) b^T + addend', () =>
  agree(
    [[3, 4], [2, 4], [2], [1, 4], [2, 1], [3, 2]],
    (g, [x, w, bias, a, b, addend]) => linear(g, x, w, { bias, addend, lowRank: { a, b, scale: 3 } }),
    (g, [x, w, bias, a, b, addend]) => {
      const times = (left: Value, right: Value) => g.matMul(left, g.transpose(right, [1, 0]));
      const low = g.mul(times(times(x, a), b), g.scalar(3));
      return g.add(g.add(g.add(times(x, w), bias), low), addend);
    },
  ));

test('the vocabulary head equals log-softmax and KL over all tokens at once', async () => {
  const cap = 1.5;
  const logitsOf = (g: Graph, h: Value, w: Value) =>
    g.mul(g.tanh(g.div(g.matMul(h, g.transpose(w, [1, 0])), g.scalar(cap))), g.scalar(cap));
  const frozen = (g: Graph) => ({
    hidden: g.constant(noise(15, 5), [5, 3]),
    weight: g.constant(noise(12, 6), [4, 3]),
  });
  const shapes = [
    [tokens, 3],
    [4, 3],
  ];
  await agree(
    shapes,
    (g, [h, w]) => vocabularyHead(g, h, w, labelsOf(g), { softCap: cap }).nll,
    (g, [h, w]) => {
      const label = g.reshape(labelsOf(g), [tokens, 1]);
      return g.reshape(g.neg(g.gatherElements(g.logSoftmax(logitsOf(g, h, w)), label, 1)), [tokens]);
    },
  );
  await agree(
    shapes,
    (g, [h, w]) => {
      const losses = vocabularyHead(g, h, w, labelsOf(g), {
        softCap: cap,
        reference: frozen(g),
      });
      return losses.kl as Value;
    },
    (g, [h, w]) => {
      const reference = frozen(g);
      const logQ = g.logSoftmax(logitsOf(g, reference.hidden, reference.weight));
      const gap = g.sub(logQ, g.logSoftmax(logitsOf(g, h, w)));
      return g.reduceSum(g.mul(g.exp(logQ), gap), { axes: [1] });
    },
  );
});

test('a tied table: head gradient plus scattered rows equals the gradient through gather', async () => {
  const g = createGraph('tied');
  const table = g.input('table', [4, 3]);
  const ids = g.input('ids', [tokens], 'int64');
  const idData = BigInt64Array.of(2n, 0n, 2n, 2n, 3n);
  const lossFrom = (rows: Value) => g.reduceSum(vocabularyHead(g, g.tanh(rows), table, labelsOf(g)).nll);
  const rows = embedding(g, table, ids);
  const [dTable, dRows] = gradients(g, lossFrom(rows), [table, rows]);
  const [expected] = gradients(g, lossFrom(g.gather(table, ids)), [table]);
  for (const [name, value] of Object.entries({ dTable, dRows, expected })) g.output(value, name);
  const results = await run(g, { ids: createTensor('int64', [tokens], idData) });
  const total = results.dTable.slice();
  addRowGradients(total, idData, results.dRows, 3);
  close(total, results.expected);
  assert.notDeepEqual(results.dTable, results.expected);
});

test('asking for an embedding table without its rows is refused', () => {
  const g = createGraph('refused');
  const table = g.input('table', [4, 3]);
  const loss = g.reduceSum(embedding(g, table, g.constant([1], [1], 'int64')));
  assert.throws(
    () => gradients(g, loss, [table]),
    (error: unknown) => error instanceof AutodiffError && /table.*addRowGradients/.test(error.message),
  );
});

test('addRowGradients refuses an id outside the table', () => {
  const row = Float32Array.of(1, 1);
  assert.throws(
    () => addRowGradients(new Float32Array(4), Int32Array.of(2), row, 2),
    /id 2 .* table of 2 rows/,
  );
  assert.throws(() => addRowGradients(new Float32Array(4), Int32Array.of(-1), row, 2), /id -1/);
});

test('malformed attention and head inputs are named', () => {
  const g = createGraph('malformed');
  const h = g.input('h', ['N', 3]);
  const q = g.input('q', [1, 2, 3]);
  assert.throws(
    () => vocabularyHead(g, h, g.input('w', [4, 3]), labelsOf(g)),
    /hidden h \[N,3\].*labels const_0 \[5\] as many/,
  );
  assert.throws(() => attention(g, q, q, q, { scale: 1, mask: q }), /q \[1,2,3\]/);
});
