import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Graph, Value } from '@parley/graph';
import { attention } from './attention.js';
import { geGluTanh, swiGlu } from './gated-units.js';
import { linear } from './linear.js';
import type { JacobianCase } from './jacobian-test-support.js';
import { checkJacobian } from './jacobian-test-support.js';
import { compositeRules, operatorRules } from './rules.js';
import { softCap } from './soft-cap.js';
import { vocabularyHead } from './vocabulary-head.js';

const matrix = { shape: [2, 3] };
const row = { shape: [3] };
const column = { shape: [2, 1] };
const positive = { shape: [2, 3], values: [0.3, 0.7, 1.1, 1.6, 2.2, 0.9] };

type Unary = (x: Value) => Value;
type Binary = (a: Value, b: Value) => Value;
function unary(rule: string, op: (g: Graph) => Unary, over: Partial<JacobianCase> = {}): JacobianCase {
  return { rule, inputs: [matrix], build: (g, [x]) => op(g)(x), ...over };
}
/** Same shapes, a broadcast row, a broadcast column, and both operands the same value. */
function binary(rule: string, op: (g: Graph) => Binary, over: Partial<JacobianCase> = {}): JacobianCase[] {
  const build = (g: Graph, [a, b]: readonly Value[]) => op(g)(a, b);
  return [
    { rule, inputs: [matrix, positive], build, ...over },
    {
      rule,
      about: 'broadcast row',
      inputs: [matrix, { shape: [3], values: [0.4, 1.3, 0.8] }],
      build,
      ...over,
    },
    {
      rule,
      about: 'broadcast column',
      inputs: [{ shape: [2, 1], values: [0.6, 1.2] }, positive],
      build,
      ...over,
    },
    { rule, about: 'one value twice', inputs: [positive], build: (g, [a]) => op(g)(a, g.exp(a)), ...over },
  ];
}
const float32 = { dtype: 'float32' as const };

const elementwise: JacobianCase[] = [
  ...binary('Add', (g) => g.add),
  ...binary('Sub', (g) => g.sub),
  ...binary('Mul', (g) => g.mul),
  ...binary('Div', (g) => g.div),
  ...binary('Min', (g) => g.min),
  ...binary('Max', (g) => g.max),
  { rule: 'Sum', inputs: [matrix, matrix, matrix], build: (g, values) => g.sum(values) },
  { rule: 'Pow', inputs: [positive, row], build: (g, [b, e]) => g.pow(b, e) },
  {
    rule: 'Pow',
    about: 'negative base',
    inputs: [matrix],
    build: (g, [b]) => g.pow(b, g.scalar(3, b.dtype)),
  },
  unary('Neg', (g) => g.neg),
  unary('Abs', (g) => g.abs),
  unary('Exp', (g) => g.exp),
  unary('Log', (g) => g.log, { inputs: [positive] }),
  unary('Sqrt', (g) => g.sqrt, { inputs: [positive] }),
  unary('Reciprocal', (g) => g.reciprocal, { inputs: [positive] }),
  unary('Sin', (g) => g.sin),
  unary('Cos', (g) => g.cos),
  unary('Tanh', (g) => g.tanh),
  unary('Tanh', (g) => (x) => softCap(g, x, 0.7), { about: 'soft cap' }),
  unary('Sigmoid', (g) => g.sigmoid),
  unary('Relu', (g) => g.relu),
  unary('Identity', (g) => g.identity),
  unary('QuickGelu', (g) => g.silu, float32),
  {
    rule: 'QuickGelu',
    about: 'alpha 1.702',
    ...float32,
    inputs: [matrix],
    build: (g, [x]) => g.node('QuickGelu', [x], [x], { alpha: { float: 1.702 } }, 'com.microsoft'),
  },
  unary('Gelu', (g) => g.geluTanh, float32),
  {
    rule: 'Where',
    inputs: [matrix, row],
    build: (g, [a, b]) => g.where(g.constant([1, 0, 0, 1, 1, 0], [2, 3], 'bool'), a, b),
  },
  {
    rule: 'Cast',
    ...float32,
    inputs: [matrix],
    build: (g, [x]) => g.cast(g.exp(g.cast(x, 'float64')), 'float32'),
  },
];

const gemmVariants = [false, true].flatMap((transA) =>
  [false, true].map((transB): JacobianCase => ({
    rule: 'Gemm',
    about: `transA ${transA}, transB ${transB}`,
    inputs: [{ shape: transA ? [4, 2] : [2, 4] }, { shape: transB ? [3, 4] : [4, 3] }, row],
    build: (g, [a, b, c]) => g.gemm(a, b, { transA, transB, c, alpha: 0.5, beta: 2 }),
  })),
);
const fusedVariants = [false, true].flatMap((transA) =>
  [false, true].map((transB): JacobianCase => ({
    rule: 'FusedMatMul',
    about: `transA ${transA}, transB ${transB}`,
    ...float32,
    inputs: [{ shape: transA ? [2, 4, 2] : [2, 2, 4] }, { shape: transB ? [2, 3, 4] : [2, 4, 3] }],
    build: (g, [a, b]) => g.fusedMatMul(a, b, { transA, transB, alpha: 0.5 }),
  })),
);
const matrices: JacobianCase[] = [
  ...gemmVariants,
  ...fusedVariants,
  {
    rule: 'Gemm',
    about: 'no addend',
    inputs: [matrix, { shape: [3, 2] }],
    build: (g, [a, b]) => g.gemm(a, b),
  },
  {
    rule: 'Gemm',
    about: 'linear with bias, residual and low rank',
    ...float32,
    inputs: [
      matrix,
      { shape: [4, 3] },
      { shape: [4] },
      { shape: [2, 3] },
      { shape: [4, 2] },
      { shape: [2, 4] },
    ],
    build: (g, [x, w, bias, a, b, addend]) => linear(g, x, w, { bias, addend, lowRank: { a, b, scale: 2 } }),
  },
  { rule: 'MatMul', inputs: [matrix, { shape: [3, 2] }], build: (g, [a, b]) => g.matMul(a, b) },
  {
    rule: 'MatMul',
    about: 'float32',
    ...float32,
    inputs: [matrix, { shape: [3, 2] }],
    build: (g, [a, b]) => g.matMul(a, b),
  },
  {
    rule: 'MatMul',
    about: 'broadcast batch',
    inputs: [{ shape: [2, 2, 2, 3] }, { shape: [2, 1, 3, 2] }],
    build: (g, [a, b]) => g.matMul(a, b),
  },
];

const reductions: JacobianCase[] = [
  ...(['ReduceSum', 'ReduceMean', 'ReduceMax'] as const).flatMap((rule): JacobianCase[] => {
    const op = (g: Graph) =>
      ({ ReduceSum: g.reduceSum, ReduceMean: g.reduceMean, ReduceMax: g.reduceMax })[rule];
    return [
      { rule, about: 'all axes', inputs: [matrix], build: (g, [x]) => op(g)(x) },
      { rule, about: 'one axis', inputs: [matrix], build: (g, [x]) => op(g)(x, { axes: [0] }) },
      {
        rule,
        about: 'kept axis',
        inputs: [matrix],
        build: (g, [x]) => op(g)(x, { axes: [-1], keepDims: true }),
      },
    ];
  }),
  unary('Softmax', (g) => g.softmax),
  unary('Softmax', (g) => (x) => g.softmax(x, 0), { about: 'first axis' }),
  unary('LogSoftmax', (g) => g.logSoftmax),
  unary('LogSoftmax', (g) => (x) => g.logSoftmax(x, 0), { about: 'first axis' }),
  unary('CumSum', (g) => (x) => g.cumSum(x, 1)),
  unary('CumSum', (g) => (x) => g.cumSum(x, 0, { exclusive: true, reverse: true }), {
    about: 'exclusive, reversed',
  }),
  unary('TopK', (g) => (x) => g.topK(x, 2).values),
];

const layouts: JacobianCase[] = [
  unary('Reshape', (g) => (x) => g.reshape(x, [3, -1])),
  unary('Transpose', (g) => (x) => g.transpose(x, [2, 0, 1]), { inputs: [{ shape: [2, 3, 2] }] }),
  unary('Slice', (g) => (x) => g.slice(x, 1, 1, 3)),
  unary('Slice', (g) => (x) => g.slice(x, 1, -2, -1), { about: 'from the end' }),
  unary('Pad', (g) => (x) => g.pad(x, 1, 1, 2)),
  { rule: 'Concat', inputs: [matrix, { shape: [2, 2] }, matrix], build: (g, values) => g.concat(values, 1) },
  { rule: 'Split', inputs: [matrix], build: (g, [x]) => g.split(x, 1, [1, 2]) },
  { rule: 'Split', about: 'one piece unused', inputs: [matrix], build: (g, [x]) => g.split(x, 1, [1, 2])[1] },
  unary('Unsqueeze', (g) => (x) => g.unsqueeze(x, 1)),
  unary('Squeeze', (g) => (x) => g.squeeze(x, 1), { inputs: [column] }),
  { rule: 'Expand', inputs: [column], build: (g, [x]) => g.expand(x, [2, 2, 3]) },
  unary('Trilu', (g) => (x) => g.trilu(x, { upper: false, diagonal: 1 })),
];

const ids = (g: Graph, values: number[], shape = [values.length]) => g.constant(values, shape, 'int64');
const indexing: JacobianCase[] = [
  {
    rule: 'Gather',
    about: 'repeated',
    inputs: [matrix],
    build: (g, [x]) => g.gather(x, ids(g, [1, 0, 1, 1], [2, 2])),
  },
  {
    rule: 'Gather',
    about: 'second axis',
    inputs: [matrix],
    build: (g, [x]) => g.gather(x, ids(g, [2, 2, 0]), 1),
  },
  {
    rule: 'GatherND',
    inputs: [{ shape: [2, 3, 2] }],
    build: (g, [x]) => g.gatherRows(x, ids(g, [2, 0], [2, 1])),
  },
  {
    rule: 'GatherElements',
    inputs: [matrix],
    build: (g, [x]) => g.gatherElements(x, ids(g, [2, 2, 0, 1], [2, 2]), 1),
  },
  {
    rule: 'ScatterElements',
    about: 'replace',
    inputs: [matrix, { shape: [2, 2] }],
    build: (g, [x, updates]) => g.scatterElements(x, ids(g, [2, 0, 0, 1], [2, 2]), updates, 1),
  },
  {
    rule: 'ScatterElements',
    about: 'add, repeated',
    inputs: [matrix, { shape: [2, 2] }],
    build: (g, [x, updates]) => g.scatterElements(x, ids(g, [2, 2, 0, 1], [2, 2]), updates, 1, 'add'),
  },
];

const cosines = [1, 1, 0.54, 0.99, -0.41, 0.98];
const sines = [0, 0, 0.84, 0.1, 0.91, 0.2];
const neural: JacobianCase[] = [
  {
    rule: 'SimplifiedLayerNormalization',
    ...float32,
    inputs: [matrix, row],
    build: (g, [x, w]) => g.rmsNorm(x, w, 1e-6).y,
  },
  {
    rule: 'RotaryEmbedding',
    ...float32,
    inputs: [{ shape: [1, 3, 8] }],
    build: (g, [x]) =>
      g.rotaryEmbedding(
        x,
        ids(g, [0, 2, 1], [1, 3]),
        g.constant(cosines, [3, 2]),
        g.constant(sines, [3, 2]),
        2,
      ),
  },
];

const attentionInputs = [{ shape: [2, 1, 4, 2] }, { shape: [2, 1, 3, 2] }, { shape: [2, 1, 3, 2] }];
const mask = (g: Graph) => g.constant([0, -1e9, 0, 0, 0, -1e9], [1, 1, 1, 2, 3]);
const composites: JacobianCase[] = [
  {
    rule: 'Attention',
    ...float32,
    inputs: attentionInputs,
    build: (g, [q, k, v]) => attention(g, q, k, v, { scale: 0.7, mask: mask(g) }),
  },
  {
    rule: 'Attention',
    about: 'soft cap',
    ...float32,
    inputs: attentionInputs,
    build: (g, [q, k, v]) => attention(g, q, k, v, { scale: 2, mask: mask(g), softCap: 1.5 }),
  },
  { rule: 'SwiGlu', ...float32, inputs: [matrix, matrix], build: (g, [a, b]) => swiGlu(g, a, b) },
  {
    rule: 'SwiGlu',
    about: 'one value twice',
    ...float32,
    inputs: [matrix],
    build: (g, [a]) => swiGlu(g, a, a),
  },
  { rule: 'GeGluTanh', ...float32, inputs: [matrix, matrix], build: (g, [a, b]) => geGluTanh(g, a, b) },
];

const headInputs = [{ shape: [5, 3] }, { shape: [4, 3] }];
const labels = (g: Graph) => ids(g, [1, 3, 0, 1, 2]);
const reference = (g: Graph) => ({
  hidden: g.constant(
    Array.from({ length: 15 }, (_, i) => Math.sin(i)),
    [5, 3],
  ),
  weight: g.constant(
    Array.from({ length: 12 }, (_, i) => Math.cos(i)),
    [4, 3],
  ),
});
const linears: JacobianCase[] = [
  {
    rule: 'Linear',
    ...float32,
    inputs: [[3, 4], [2, 4], [2], [1, 4], [2, 1], [3, 2]].map((shape) => ({ shape })),
    build: (g, [x, w, bias, a, b, addend]) => linear(g, x, w, { bias, addend, lowRank: { a, b, scale: 3 } }),
  },
];

const heads: JacobianCase[] = [
  {
    rule: 'VocabularyHead',
    about: 'trained head',
    ...float32,
    inputs: headInputs,
    build: (g, [h, w]) => vocabularyHead(g, h, w, labels(g)).nll,
  },
  {
    rule: 'VocabularyHead',
    about: 'frozen head',
    ...float32,
    inputs: [headInputs[0]],
    build: (g, [h]) => vocabularyHead(g, h, reference(g).weight, labels(g)).nll,
  },
  {
    rule: 'VocabularyHead',
    about: 'frozen hidden states',
    ...float32,
    inputs: [headInputs[1]],
    build: (g, [w]) => vocabularyHead(g, reference(g).hidden, w, labels(g)).nll,
  },
  {
    rule: 'VocabularyHead',
    about: 'soft cap and reference',
    ...float32,
    inputs: headInputs,
    build: (g, [h, w]) => {
      const { nll, kl } = vocabularyHead(g, h, w, labels(g), {
        softCap: 1.5,
        reference: reference(g),
      });
      return [nll, kl as Value];
    },
  },
  {
    rule: 'VocabularyHead',
    about: 'reference alone',
    ...float32,
    inputs: headInputs,
    build: (g, [h, w]) => vocabularyHead(g, h, w, labels(g), { reference: reference(g) }).kl as Value,
  },
];

const cases = [
  elementwise,
  matrices,
  reductions,
  layouts,
  indexing,
  neural,
  composites,
  linears,
  heads,
].flat();

for (const entry of cases)
  test(`Jacobian of ${entry.rule}${entry.about ? ` (${entry.about})` : ''}`, () => checkJacobian(entry));

test('every rule has a Jacobian case', () => {
  const covered = new Set(cases.map((entry) => entry.rule));
  // These two do not equal their own derivative by design; gradients.test.ts and embedding.test.ts cover them.
  const exempt = ['StopGradient', 'Embedding'];
  const rules = [...Object.keys(operatorRules), ...Object.keys(compositeRules)];
  assert.deepEqual(
    rules.filter((rule) => !covered.has(rule) && !exempt.includes(rule)),
    [],
  );
});
