import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGraph } from './graph.js';
import { GraphError } from './graph-error.js';

/** Asserts that building fails with a GraphError whose message holds every given part. */
function refuses(build: () => unknown, ...parts: string[]): void {
  assert.throws(build, (error: unknown) => {
    assert.ok(error instanceof GraphError);
    for (const part of parts)
      assert.ok(error.message.includes(part), `"${error.message}" does not say "${part}"`);
    return true;
  });
}

test('infers shapes through broadcasting, products and reductions', () => {
  const g = createGraph('shapes');
  const x = g.input('x', ['B', 'T', 64]);
  assert.deepEqual(g.add(x, g.constant([1], [1, 1])).shape, ['B', 'T', 64]);
  assert.deepEqual(g.matMul(x, g.input('w', [64, 8])).shape, ['B', 'T', 8]);
  assert.deepEqual(g.reduceMean(x, { axes: [-1], keepDims: true }).shape, ['B', 'T', 1]);
  assert.deepEqual(g.reduceSum(x).shape, []);
  assert.deepEqual(g.gather(g.input('table', [10, 4]), g.input('ids', ['B', 'T'], 'int64')).shape, [
    'B',
    'T',
    4,
  ]);
  assert.deepEqual(g.concat([x, x], 0).shape, ['B+B', 'T', 64]);
  assert.deepEqual(g.slice(x, 2, -4, 1000).shape, ['B', 'T', 4]);
  assert.equal(g.argMax(x, -1).dtype, 'int64');
  assert.equal(g.equal(x, x).dtype, 'bool');
});

test('resolves -1, 0 and symbols in a reshape', () => {
  const g = createGraph('reshape');
  const x = g.input('x', ['B', 'T', 64]);
  assert.deepEqual(g.reshape(x, [-1, 64]).shape, ['B*T', 64]);
  assert.deepEqual(g.reshape(x, [0, 0, 4, 16]).shape, ['B', 'T', 4, 16]);
  assert.deepEqual(g.reshape(g.reshape(x, [-1, 64]), ['B', 'T', 64]).shape, ['B', 'T', 64]);
  assert.equal(g.reshape(x, ['B', 'T', 64]), x, 'a reshape to the same shape is no node');
  refuses(() => g.reshape(x, ['B', 5, 64]), 'Reshape(x [B,T,64])', '[B,5,64]');
  refuses(() => g.reshape(x, [-1, -1]), 'more than one -1');
  refuses(() => g.reshape(x, ['B', 'T', 8, 'Q']), 'does not fit');
});

test('names operator, operands and shapes when it refuses', () => {
  const g = createGraph('errors');
  const q = g.input('q', [2, 3]);
  const k = g.input('k', [4, 5]);
  const ids = g.input('ids', [2], 'int64');
  refuses(() => g.matMul(q, k), 'MatMul(q [2,3], k [4,5])', 'inner dimensions 3 and 4 differ');
  refuses(() => g.gemm(q, k, { transB: true }), 'Gemm(q [2,3], k [4,5])', 'with transB');
  refuses(() => g.gemm(q, g.input('w', [4, 3]), { transB: true, c: g.input('c', [5]) }), 'c [5]', '[2,4]');
  refuses(() => g.add(q, k), 'Add(q [2,3], k [4,5])', 'do not broadcast');
  refuses(() => g.add(q, ids), 'float32 and int64 differ', 'cast');
  refuses(() => g.exp(ids), 'Exp(ids [2])', 'int64');
  refuses(() => g.where(q, q, q), 'Where', 'float32, not bool');
  refuses(() => g.gather(q, k), 'Gather', 'int64 or int32');
  refuses(() => g.softmax(q, 2), 'axis 2', 'rank 2');
  refuses(() => g.transpose(q, [0, 0]), 'Transpose(q [2,3])', '[0,0]');
  refuses(() => g.split(q, 1, [1, 1]), 'Split(q [2,3])', '3');
  refuses(() => g.squeeze(q, 0), 'size 2, not 1');
  refuses(() => g.expand(q, [2, 4]), 'Expand(q [2,3])', '[2,4]');
  refuses(() => g.slice(q, 1, 2, 1), 'Slice(q [2,3])');
  refuses(() => g.concat([q, k], 0), 'Concat', 'axis 0');
  refuses(() => g.topK(q, 4), 'k is 4', '3 elements');
  refuses(() => g.rmsNorm(q, g.input('norm', [2]), 1e-6), 'norm [2]', '[3]');
  refuses(() => g.scatterElements(q, ids, q, 0), 'ScatterElements', 'one shape');
  refuses(() => g.rotaryEmbedding(q, ids, q, q, 2), 'RotaryEmbedding', '[batch, tokens');
  refuses(() => g.int8Product(q, k, q, { zeroPoint: 64 }), 'MatMulIntegerToFloat', 'uint8');
});

test('refuses names taken twice, impossible shapes and data of the wrong size', () => {
  const g = createGraph('names');
  g.input('x', [2]);
  refuses(() => g.input('x', [3]), '"x" is already taken', '"names"');
  refuses(() => g.input('', [3]), 'empty');
  refuses(() => g.input('y', [-1]), '"y"', '[-1]');
  refuses(() => g.initializer('w', [2, 2], new Float32Array(3)), '"w"', '16 bytes', '12');
});

test('refuses values of another graph', () => {
  const g = createGraph('here');
  const other = createGraph('there').input('x', [1]);
  refuses(() => g.neg(other), '"x" belongs to graph "there"', '"here"');
  refuses(() => g.output(other, 'y'), '"there"');
});

test('shares equal constants only', () => {
  const g = createGraph('constants');
  const big = new Float32Array(100).fill(2);
  assert.equal(g.scalar(1), g.scalar(1));
  assert.equal(g.constant(big, [100]), g.constant(big.slice(), [100]));
  assert.notEqual(g.scalar(1), g.constant([1], [1]));
  assert.notEqual(g.scalar(1), g.scalar(1, 'float64'));
  assert.notEqual(g.constant(big, [100]), g.constant(big, [10, 10]));
});

test('scopes prefix node names', () => {
  const g = createGraph('scopes');
  const x = g.input('x', [1]);
  const y = g.scope('layer0', () => g.scope('mlp', () => g.neg(x)));
  assert.match(y.name, /^layer0\/mlp\/Neg_/);
  refuses(() => g.matMul(y, x), y.name);
});
