/**
 * The matrix products that computing some sequences consists of, run by onnxruntime and nothing else: what our engine's rate is
 * a share of.
 *
 *   node products.js '{"shape": {...}, "threads": 2, "work": {"prefill": {...}}}'
 *
 * Serves turns as `serveTurns` says; a line is the name of one of the works. Every weight has memory of its own, as in a model;
 * activations of the same shape share theirs.
 */
import { createGraph, createSession, createTensor } from '@parley/graph';
import type { Session, Tensor, Value } from '@parley/graph';
import type { ScoreWork } from './ours.js';
import { serveTurns, timed } from './serve-turns.js';
import type { ModelShape } from './shapes.js';

/** What this program is asked to do. */
export interface ProductsJob {
  readonly shape: ModelShape;
  readonly threads: number;
  readonly spinning: boolean;
  readonly work: Readonly<Record<string, ScoreWork>>;
}

interface Products {
  readonly session: Session;
  readonly feeds: Readonly<Record<string, Tensor>>;
  readonly flops: number;
}

/** Values of a tensor; constants would do, but zeros and denormal numbers could be computed faster or slower. */
function filled(dims: readonly number[]): Tensor {
  const count = dims.reduce((a, b) => a * b, 1);
  const data = new Float32Array(count);
  for (let i = 0; i < count; i++) data[i] = ((i * 7919) % 2003) / 20030 - 0.05;
  return createTensor('float32', dims, data);
}

async function openProducts(
  job: ProductsJob,
  work: ScoreWork,
  weights: Map<string, Tensor>,
): Promise<Products> {
  const { hidden_size: hidden, intermediate_size: middle, vocab_size: vocabulary } = job.shape;
  const { num_attention_heads: heads, num_key_value_heads: kvHeads } = job.shape;
  const headDim = hidden / heads;
  const g = createGraph('matrix-products');
  const feeds: Record<string, Tensor> = {};
  const corners: Value[] = [];
  let flops = 0;
  const input = (name: string, dims: number[]): Value => {
    const known = weights.get(name) ?? filled(dims);
    if (name.startsWith('weight')) weights.set(name, known);
    feeds[name] = known;
    return g.input(name, dims);
  };
  const shared = new Map<string, Value>();
  const activation = (...dims: number[]): Value => {
    const name = `activation.${dims.join('x')}`;
    if (!shared.has(name)) shared.set(name, input(name, dims));
    return shared.get(name)!;
  };
  // Only one element of each result leaves the session, because fetching copies.
  const keep = (result: Value): void => {
    const matrix = g.reshape(result, [-1, result.shape.at(-1) as number]);
    corners.push(g.reshape(g.slice(g.slice(matrix, 0, 0, 1), 1, 0, 1), [1]));
  };
  const linear = (name: string, rows: number, outputs: number, inputs: number): void => {
    keep(g.gemm(activation(rows, inputs), input(name, [outputs, inputs]), { transB: true }));
    flops += 2 * rows * outputs * inputs;
  };
  const { sequences, promptTokens, targetTokens } = work;
  const length = promptTokens + targetTokens;
  const rows = sequences * length;
  for (let layer = 0; layer < job.shape.num_hidden_layers; layer++) {
    linear(`weight.${layer}.query`, rows, heads * headDim, hidden);
    linear(`weight.${layer}.key`, rows, kvHeads * headDim, hidden);
    linear(`weight.${layer}.value`, rows, kvHeads * headDim, hidden);
    linear(`weight.${layer}.output`, rows, hidden, heads * headDim);
    linear(`weight.${layer}.gate`, rows, middle, hidden);
    linear(`weight.${layer}.up`, rows, middle, hidden);
    linear(`weight.${layer}.down`, rows, hidden, middle);
    const stacked = (heads / kvHeads) * length;
    const keys = activation(sequences, kvHeads, length, headDim);
    keep(g.fusedMatMul(activation(sequences, kvHeads, stacked, headDim), keys, { transB: true }));
    keep(g.matMul(activation(sequences, kvHeads, stacked, length), keys));
    flops += 4 * sequences * heads * length * length * headDim;
  }
  linear('weight.head', sequences * Math.max(1, targetTokens), vocabulary, hidden);
  g.output(g.concat(corners, 0), 'corners');
  const { threads, spinning } = job;
  return { session: await createSession(g, { threads, spinning }), feeds, flops };
}

async function serve(job: ProductsJob): Promise<void> {
  const weights = new Map<string, Tensor>();
  const opened = new Map<string, Products>();
  for (const [name, work] of Object.entries(job.work))
    opened.set(name, await openProducts(job, work, weights));
  await serveTurns({}, async (line) => {
    const { session, feeds, flops } = opened.get(line)!;
    const ms = await timed(() => session.run(feeds));
    return { ms, gigaflops: flops / ms / 1e6 };
  });
}

await serve(JSON.parse(process.argv[2]) as ProductsJob);
