import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createGraph, createSession, createTensor, toModelBytes } from '@parley/graph';
import type { Graph, Value } from '@parley/graph';
import { initLanguageModel, parameterNames, parseModelConfig } from '@parley/lm';
import type { LanguageModel, ModelConfig, Tensor } from '@parley/lm';

/** How the engine benchmarks run. */
export interface EngineBenchOptions {
  /** Threads of one operator, for us and for what we compare with. Default 1. */
  readonly threads?: number;
  /** Measurements of each side, taken in turn; the cheapest of each counts. Default 9. */
  readonly repeats?: number;
}

/**
 * Training speed against the multiplications it consists of. Times are processor time of this process, all its threads
 * together: what else runs on the machine then counts for neither side.
 */
export interface TrainingBench {
  /** Of processor time. */
  readonly tokensPerSecond: number;
  readonly stepMs: number;
  /**
   * Time of the step's matrix products alone: the shapes of the whole batch, whatever passes the step splits it into, the
   * same counts and threads, each product on memory of its own.
   */
  readonly productsMs: number;
  readonly productsGigaflops: number;
  /** productsMs / stepMs: the share of onnxruntime's own matrix-multiply rate that a whole step reaches. */
  readonly ratio: number;
}

/**
 * Decoding speed at batch 32 beside `@huggingface/transformers` on the same weights. Times are processor time of this
 * process, in which both run.
 */
export interface DecodeBench {
  readonly batch: number;
  readonly stepMs: number;
  /** Of processor time. */
  readonly tokensPerSecond: number;
  /** Absent with the reason when the peer package is not installed. */
  readonly peer:
    | {
        readonly stepMs: number;
        readonly speedup: number;
        readonly version: string;
        readonly sameTokens: number;
      }
    | { readonly skipped: string };
}

const shape = {
  vocabulary: 2048,
  hidden: 256,
  layers: 6,
  heads: 4,
  kvHeads: 2,
  headDim: 64,
  intermediate: 1024,
};
const training = { rows: 16, tokens: 128 };
const decoding = { batch: 32, promptTokens: 64, shortTokens: 8, longTokens: 72 };

/** The model that is measured: d = 256, 6 layers. */
export function benchConfig(): ModelConfig {
  return parseModelConfig({
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: shape.vocabulary,
    hidden_size: shape.hidden,
    intermediate_size: shape.intermediate,
    num_hidden_layers: shape.layers,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.kvHeads,
    head_dim: shape.headDim,
    max_position_embeddings: 256,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    hidden_act: 'silu',
    tie_word_embeddings: true,
    initializer_range: 0.1,
    bos_token_id: 1,
    eos_token_id: 2,
  });
}

/** Measures one optimiser step at d = 256, 6 layers, 16 × 128 tokens, and its matrix products, in turn. */
export async function benchTraining(options: EngineBenchOptions = {}): Promise<TrainingBench> {
  const { threads = 1, repeats = 9 } = options;
  const { rows, tokens } = training;
  const products = matrixProducts(rows, tokens);
  await using session = await createSession(products.graph, { threads, spinning: false });
  await using model = await initLanguageModel({
    config: benchConfig(),
    seed: 1,
    threads,
    maxBatchTokens: rows * tokens,
  });
  const batch = Array.from({ length: rows }, (_, row) => ({
    prompt: [row],
    target: Array.from({ length: tokens }, (_, t) => (row * 131 + t * t) % shape.vocabulary),
    weight: 1,
  }));
  const settings = {
    learningRate: 1e-3,
    beta1: 0.9,
    beta2: 0.98,
    epsilon: 1e-8,
    weightDecay: 0.05,
    maxGradNorm: 1,
  };
  const [productsMs, stepMs] = await cheapest(repeats, [
    () => session.run(products.feeds),
    () => model.trainStep(batch, settings),
  ]);
  return {
    tokensPerSecond: (rows * tokens * 1000) / stepMs,
    stepMs,
    productsMs,
    productsGigaflops: products.flops / productsMs / 1e6,
    ratio: productsMs / stepMs,
  };
}

/**
 * Runs the contestants in turn after one round of warming up; the least processor time of each, in milliseconds. The
 * minimum, because whatever disturbs a run (other programs in the shared caches) only adds to it.
 */
async function cheapest(
  repeats: number,
  contestants: readonly (() => Promise<unknown>)[],
): Promise<number[]> {
  const best = contestants.map(() => Infinity);
  for (let round = -1; round < repeats; round++) {
    for (const [i, contestant] of contestants.entries()) {
      const start = process.cpuUsage();
      await contestant();
      const { user, system } = process.cpuUsage(start);
      if (round >= 0) best[i] = Math.min(best[i], (user + system) / 1000);
    }
  }
  return best;
}

/**
 * Every matrix product of a forward and backward pass, and nothing else. Only one element of each result leaves the
 * session, because fetching copies.
 */
function matrixProducts(rows: number, tokens: number) {
  const g = createGraph('matrix-products');
  const feeds: Record<string, ReturnType<typeof createTensor>> = {};
  const corners: Value[] = [];
  let flops = 0;
  const input = (dims: number[]): Value => {
    const name = `input${Object.keys(feeds).length}`;
    const data = new Float32Array(dims.reduce((a, b) => a * b, 1)).map((_, i) => Math.sin(i));
    feeds[name] = createTensor('float32', dims, data);
    return g.input(name, dims);
  };
  const keep = (product: Value): void => {
    const matrix = g.reshape(product, [-1, product.shape.at(-1) as number]);
    corners.push(g.reshape(g.slice(g.slice(matrix, 0, 0, 1), 1, 0, 1), [1]));
  };
  const n = rows * tokens;
  const linear = (outputs: number, inputs: number): void => {
    const [x, w, dy] = [input([n, inputs]), input([outputs, inputs]), input([n, outputs])];
    keep(g.gemm(x, w, { transB: true }));
    keep(g.gemm(dy, w));
    keep(g.gemm(dy, x, { transA: true }));
    flops += 6 * n * outputs * inputs;
  };
  const { hidden, intermediate, heads, kvHeads, headDim } = shape;
  for (let layer = 0; layer < shape.layers; layer++) {
    for (const [outputs, inputs] of [
      [heads * headDim, hidden],
      [kvHeads * headDim, hidden],
      [kvHeads * headDim, hidden],
      [hidden, heads * headDim],
      [intermediate, hidden],
      [intermediate, hidden],
      [hidden, intermediate],
    ]) {
      linear(outputs, inputs);
    }
    const stacked = (heads / kvHeads) * tokens;
    const [q, dOut] = [0, 1].map(() => input([rows, kvHeads, stacked, headDim]));
    const [k, v] = [0, 1].map(() => input([rows, kvHeads, tokens, headDim]));
    const [p, ds] = [0, 1].map(() => input([rows, kvHeads, stacked, tokens]));
    keep(g.fusedMatMul(q, k, { transB: true }));
    keep(g.matMul(p, v));
    keep(g.fusedMatMul(dOut, v, { transB: true }));
    keep(g.fusedMatMul(p, dOut, { transA: true }));
    keep(g.matMul(ds, k));
    keep(g.fusedMatMul(ds, q, { transA: true }));
    flops += 12 * rows * heads * tokens * tokens * headDim;
  }
  linear(shape.vocabulary, hidden);
  g.output(g.concat(corners, 0), 'corners');
  return { graph: g, feeds, flops };
}

/**
 * Measures one greedy decoding step at batch 32: the difference between a long and a short generation, divided by the
 * steps between them, so that prefill and set-up drop out.
 * @param peerFolder where `@huggingface/transformers` is installed (see README.md); null skips the comparison by name
 */
export async function benchDecode(
  peerFolder: string | null,
  options: EngineBenchOptions = {},
): Promise<DecodeBench> {
  const { threads = 1, repeats = 9 } = options;
  const { batch, promptTokens, shortTokens, longTokens } = decoding;
  await using model = await initLanguageModel({ config: benchConfig(), seed: 1, threads, maxBatch: batch });
  const prompts = Array.from({ length: batch }, (_, row) =>
    Array.from({ length: promptTokens }, (_, t) => 3 + ((row * 977 + t * 31) % (shape.vocabulary - 3))),
  );
  const ours = (maxTokens: number) => () => generateGreedy(model, prompts, maxTokens);
  const peer = peerFolder === null ? null : await openPeer(peerFolder, await model.exportMerged(), threads);
  const theirs = (maxTokens: number) => () => peer!.generate(prompts, maxTokens);
  try {
    const times = await cheapest(repeats, [
      ours(shortTokens),
      ours(longTokens),
      ...(peer ? [theirs(shortTokens), theirs(longTokens)] : []),
    ]);
    const steps = longTokens - shortTokens;
    const stepMs = (times[1] - times[0]) / steps;
    const result = { batch, stepMs, tokensPerSecond: (batch * 1000) / stepMs };
    if (!peer)
      return {
        ...result,
        peer: { skipped: 'PARLEY_TRANSFORMERS_FOLDER is not set: see test/bench/README.md' },
      };
    const peerStepMs = (times[3] - times[2]) / steps;
    const [a, b] = [await ours(longTokens)(), await theirs(longTokens)()];
    const sameTokens = a.flat().filter((token, i) => token === b.flat()[i]).length / a.flat().length;
    return {
      ...result,
      peer: { stepMs: peerStepMs, speedup: peerStepMs / stepMs, version: peer.version, sameTokens },
    };
  } finally {
    await peer?.close();
  }
}

async function generateGreedy(
  model: LanguageModel,
  prompts: number[][],
  maxTokens: number,
): Promise<number[][]> {
  const items = prompts.map((prompt) => ({ prompt, seed: 0 }));
  const completions = await model.generate(items, { maxTokens, temperature: 0, stopTokens: [] });
  return completions.map(({ tokens }) => tokens);
}

/** The part of `@huggingface/transformers` that the comparison uses. */
interface TransformersModule {
  readonly env: { allowRemoteModels: boolean; localModelPath: string };
  readonly AutoModelForCausalLM: {
    from_pretrained(name: string, options: unknown): Promise<TransformersModel>;
  };
  readonly Tensor: new (type: string, data: BigInt64Array, dims: number[]) => unknown;
}
interface TransformersModel {
  generate(options: unknown): Promise<{ tolist(): bigint[][] }>;
  dispose(): Promise<unknown>;
}

interface Peer {
  readonly version: string;
  generate(prompts: number[][], maxTokens: number): Promise<number[][]>;
  close(): Promise<void>;
}

/** Exports the weights in the layout that transformers.js reads and loads them there. */
async function openPeer(folder: string, weights: Map<string, Tensor>, threads: number): Promise<Peer> {
  const require = createRequire(join(folder, 'package.json'));
  const entry = require.resolve('@huggingface/transformers');
  const { version } = require(join(folder, 'node_modules/@huggingface/transformers/package.json')) as {
    version: string;
  };
  const { env, AutoModelForCausalLM, Tensor } = (await import(
    pathToFileURL(entry).href
  )) as TransformersModule;
  const temporary = mkdtempSync(join(tmpdir(), 'parley-bench-'));
  mkdirSync(join(temporary, 'model', 'onnx'), { recursive: true });
  writeFileSync(join(temporary, 'model', 'config.json'), JSON.stringify(benchConfig().source));
  writeFileSync(join(temporary, 'model', 'onnx', 'model.onnx'), toModelBytes(decoderWithPast(weights)));
  env.allowRemoteModels = false;
  env.localModelPath = temporary;
  const model = await AutoModelForCausalLM.from_pretrained('model', {
    dtype: 'fp32',
    device: 'cpu',
    session_options: {
      intraOpNumThreads: threads,
      extra: { session: { intra_op: { allow_spinning: '0' } } },
    },
  });
  return {
    version,
    async generate(prompts, maxTokens) {
      const dims = [prompts.length, prompts[0].length];
      const ids = BigInt64Array.from(prompts.flat(), (id) => BigInt(id));
      const output = await model.generate({
        input_ids: new Tensor('int64', ids, dims),
        attention_mask: new Tensor('int64', new BigInt64Array(ids.length).fill(1n), dims),
        max_new_tokens: maxTokens,
        min_new_tokens: maxTokens,
        eos_token_id: shape.vocabulary + 1,
        do_sample: false,
      });
      return output.tolist().map((row) => row.slice(dims[1]).map(Number));
    },
    async close() {
      await model.dispose();
      rmSync(temporary, { recursive: true, force: true });
    },
  };
}

/**
 * The usual export of a Llama: past keys and values in, present ones out, weights as initializers [in, out], and
 * onnxruntime's fused grouped-query attention.
 */
function decoderWithPast(weights: Map<string, Tensor>): Graph {
  const config = benchConfig();
  // transformers.js sizes the empty cache of the first step by this name.
  const batch = 'batch_size';
  const names = parameterNames(config);
  const { hidden, heads, kvHeads, headDim } = shape;
  const g = createGraph('decoder-with-past');
  const ids = g.input('input_ids', [batch, 'sequence_length'], 'int64');
  const mask = g.input('attention_mask', [batch, 'total_sequence_length'], 'int64');
  g.input('position_ids', [batch, 'sequence_length'], 'int64');
  const tables = rotaryTables(config);
  const vector = (name: string): Value => {
    const tensor = weights.get(name)!;
    return g.initializer(name, tensor.shape, tensor.data);
  };
  const project = (x: Value, name: string): Value => {
    const tensor = weights.get(name)!;
    const [outputs, inputs] = tensor.shape;
    const data = new Float32Array(tensor.data.length);
    for (let o = 0; o < outputs; o++)
      for (let i = 0; i < inputs; i++) data[i * outputs + o] = tensor.data[o * inputs + i];
    return g.matMul(x, g.initializer(`${name}.transposed`, [inputs, outputs], data));
  };
  const counts = g.reduceSum(mask, { axes: [1] });
  const lengths = g.cast(g.sub(counts, g.scalar(1, 'int64')), 'int32');
  const total = g.cast(g.shape(mask, 1, 2), 'int32');
  let x = g.gather(vector(names.embedding), ids);
  names.layers.forEach((layer, index) => {
    const past = ['key', 'value'].map((side) =>
      g.input(`past_key_values.${index}.${side}`, [batch, kvHeads, 'past_sequence_length', headDim]),
    );
    const read = g.rmsNorm(x, vector(layer.inputNorm), config.normEps).y;
    const [q, k, v] = [layer.query, layer.key, layer.value].map(({ weight }) => project(read, weight));
    const cache = { shape: [batch, kvHeads, 'total_sequence_length', headDim], dtype: 'float32' } as const;
    const [mixed, presentKey, presentValue] = g.node(
      'GroupQueryAttention',
      [
        q,
        k,
        v,
        ...past,
        lengths,
        total,
        ...tables.map((t) => g.constant(t, [config.maxPositions, headDim / 2])),
      ],
      [{ shape: [batch, 'sequence_length', heads * headDim], dtype: 'float32' }, cache, cache],
      {
        num_heads: { int: heads },
        kv_num_heads: { int: kvHeads },
        do_rotary: { int: 1 },
        scale: { float: config.queryScale },
      },
      'com.microsoft',
    );
    g.output(presentKey, `present.${index}.key`);
    g.output(presentValue, `present.${index}.value`);
    x = g.add(x, project(mixed, layer.output.weight));
    const h = g.rmsNorm(x, vector(layer.mlpNorm), config.normEps).y;
    const gated = g.mul(g.silu(project(h, layer.gate.weight)), project(h, layer.up.weight));
    x = g.add(x, project(gated, layer.down.weight));
  });
  const last = g.rmsNorm(x, vector(names.finalNorm), config.normEps).y;
  g.output(project(g.reshape(last, [batch, 'sequence_length', hidden]), names.head), 'logits');
  return g;
}

function rotaryTables({ headDim, maxPositions, rope }: ModelConfig): [Float32Array, Float32Array] {
  const angles = Array.from({ length: maxPositions * (headDim / 2) }, (_, i) => {
    const [position, pair] = [Math.floor(i / (headDim / 2)), i % (headDim / 2)];
    return position / rope.theta ** ((2 * pair) / headDim);
  });
  return [Float32Array.from(angles, Math.cos), Float32Array.from(angles, Math.sin)];
}
