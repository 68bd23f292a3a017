import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Quantization } from '@parley/lm';
import { compete } from './contest.js';
import type { Result } from './contest.js';
import { startContestant } from './contestant.js';
import type { Contestant } from './contestant.js';
import { noteOf, startOurs, times, attempt } from './job.js';
import type { JobContext } from './job.js';
import type { LoraJob, ScoreWork } from './ours.js';
import type { ProductsJob } from './products.js';
import { makeRandomCheckpoint } from './random-checkpoint.js';
import { startLlama } from './references.js';
import { formatMs } from './render.js';
import { judged } from './row.js';
import type { Row, Target } from './row.js';
import { qwenHalfBillion } from './shapes.js';

const decoding = { promptTokens: 64, newTokens: 32 };

/** How our side decodes. */
interface Setting {
  /** Part of a row's id. */
  readonly id: string;
  readonly base: string;
  readonly quantization: Quantization;
  /** Without one, an adapter of no matrices: a base in 8 bits is taken with LoRA only. */
  readonly lora?: LoraJob;
  /** How many times as fast as llama.cpp, by batch size; null where it is shown for comparison only. */
  readonly factors: Readonly<Record<number, number | null>>;
}

const adapter: LoraJob = { rank: 16, alpha: 32 };
const noAdapter: LoraJob = { ...adapter, targets: [] };
const shown = { 1: null, 8: null, 32: null };

/** Decoding with an 8-bit base beside llama.cpp's Q8_0, which rounds activations to 8 bits and runs no adapter. */
export function measureDecode8Bit(context: JobContext): Promise<Row[]> {
  const w8a8 = { quantization: 'w8a8', lora: noAdapter, factors: { 1: 1, 8: 1.8, 32: 2 } } as const;
  return measureDecode(context, 'Q8_0', [
    { ...w8a8, id: 'w8a8', base: 'w8a8' },
    { ...w8a8, id: 'w8a8.lora', base: 'w8a8 with an adapter', lora: adapter, factors: shown },
    { id: 'int8.lora', base: 'int8 with an adapter', quantization: 'int8', lora: adapter, factors: shown },
  ]);
}

/** Decoding in fp32 beside llama.cpp's F32. */
export function measureDecodeFp32(context: JobContext): Promise<Row[]> {
  const factors = { 1: null, 8: 1.3, 32: null };
  return measureDecode(context, 'F32', [{ id: 'fp32', base: 'fp32', quantization: 'none', factors }]);
}

async function measureDecode(
  context: JobContext,
  type: 'Q8_0' | 'F32',
  settings: readonly Setting[],
): Promise<Row[]> {
  const wanted = settings.map(({ id, base, factors }) =>
    Object.entries(factors).map(([batch, factor]) => ({
      batch: Number(batch),
      id: `decode.${id}.${batch}`,
      work: `decode batch ${batch}, ${base}, 0.5B`,
      target: factor === null ? null : ({ kind: 'atLeast', value: factor, unit: '×' } as const),
    })),
  );
  return attempt(wanted.flat(), async () => {
    await using peer = await startLlama(context.references, {
      shape: qwenHalfBillion,
      name: 'qwen2.5-0.5b',
      type,
      batches: wanted[0].map(({ batch }) => batch),
      ...decoding,
    });
    const found: Row[] = [];
    for (const [i, { quantization, lora }] of settings.entries()) {
      await using ours = await startOurs(context, {
        kind: 'decode',
        shape: qwenHalfBillion,
        ...decoding,
        quantization,
        ...(lora ? { lora } : {}),
      });
      for (const row of wanted[i]) found.push(await compareDecode(context, ours, peer, row));
    }
    return found;
  });
}

async function compareDecode(
  context: JobContext,
  ours: Contestant,
  peer: Contestant,
  { batch, id, work, target }: { batch: number; id: string; work: string; target: Target | null },
): Promise<Row> {
  const { newTokens } = decoding;
  const results = await compete(
    [
      { contestant: ours, line: `${batch} 1` },
      { contestant: ours, line: `${batch} ${1 + newTokens}` },
      { contestant: peer, line: String(batch) },
    ],
    context.turns,
  );
  context.record(id, peer.facts, results);
  const [first, all, theirs] = results as [Result, Result, Result];
  // Prompts and first tokens are in both of our times; what is left are the steps of decoding.
  const step = {
    minMs: (all.minMs - first.minMs) / newTokens,
    medianMs: (all.medianMs - first.medianMs) / newTokens,
  };
  const rate = (result: { minMs: number }): string =>
    `${((1000 * batch) / result.minMs).toFixed(1)} tokens/s`;
  return judged({
    id,
    work,
    ours: `${rate(step)}, ${times(step)}`,
    peer: `${rate(theirs)}, ${times(theirs)} ${theirs.name}`,
    figure: theirs.minMs / step.minMs,
    target,
    note: noteOf(results),
  });
}

/** Scoring of answers to one question, and how near prefill and scoring come to onnxruntime's matrix products. */
export async function measureScoring(context: JobContext): Promise<Row[]> {
  const answers = { sequences: 8, promptTokens: 256, targetTokens: 32 };
  const work = {
    prefill: { sequences: 1, promptTokens: 512, targetTokens: 0, shared: false },
    scoring: { sequences: 8, promptTokens: 64, targetTokens: 64, shared: false },
  };
  const shape = qwenHalfBillion;
  const { threads, cores } = context.references;
  const job: ProductsJob = { shape, threads, spinning: context.spinning, work };
  await using products = await startContestant(
    'products',
    process.execPath,
    [fileURLToPath(new URL('./products.js', import.meta.url)), JSON.stringify(job)],
    cores,
  );
  await using ours = await startOurs(context, {
    kind: 'score',
    shape,
    work: { ...work, together: { ...answers, shared: true }, apart: { ...answers, shared: false } },
  });
  const rows: Row[] = [];
  for (const name of ['prefill', 'scoring'] as const) {
    const results = await compete(
      [
        { contestant: products, line: name },
        { contestant: ours, line: name },
      ],
      context.turns,
    );
    context.record(name, {}, results);
    const [bare, whole] = results as [Result, Result];
    const { sequences, promptTokens, targetTokens } = work[name];
    rows.push(
      judged({
        id: name,
        work: `${name}, ${sequences} × ${promptTokens + targetTokens} tokens, 0.5B, fp32`,
        ours: times(whole),
        peer: `${times(bare)} onnxruntime's products`,
        figure: bare.minMs / whole.minMs,
        target: { kind: 'atLeast', value: 0.85, unit: 'share' },
        note: noteOf(results),
      }),
    );
  }
  const results = await compete(
    [
      { contestant: ours, line: 'apart' },
      { contestant: ours, line: 'together' },
    ],
    context.turns,
  );
  context.record('shared-prefix', {}, results);
  const [apart, together] = results as [Result, Result];
  const saved = linearFlops({ ...answers, shared: false }) / linearFlops({ ...answers, shared: true });
  rows.push(
    judged({
      id: 'shared-prefix',
      work: 'scoring 8 answers of 32 tokens to one question of 256',
      ours: times(together),
      peer: `${times(apart)} with eight questions`,
      figure: apart.minMs / together.minMs,
      // Nine tenths of what the products of linear layers alone would save.
      target: { kind: 'atLeast', value: Math.round(90 * saved) / 100, unit: '×' },
      note: noteOf(results),
    }),
  );
  return rows;
}

/**
 * How many tokens a second a pass over one sequence computes, by its length: what decides how long the pieces are that prompts are read
 * in, since sequences under way wait for a piece.
 */
export async function measurePasses(context: JobContext): Promise<Row[]> {
  const rows: Row[] = [];
  for (const quantization of ['none', 'w8a8'] as const) {
    const base = quantization === 'none' ? 'fp32' : quantization;
    const work = Object.fromEntries(
      [32, 64, 128, 256, 512, 1024].map((tokens) => [
        tokens,
        { sequences: 1, promptTokens: tokens, targetTokens: 1, shared: false },
      ]),
    );
    await using ours = await startOurs(context, {
      kind: 'score',
      shape: qwenHalfBillion,
      quantization,
      ...(quantization === 'none' ? {} : { lora: noAdapter }),
      work,
    });
    for (const tokens of Object.keys(work)) {
      const results = await compete([{ contestant: ours, line: tokens }], context.turns);
      context.record(`passes.${base}.${tokens}`, {}, results);
      const rate = (1000 * Number(tokens)) / results[0].minMs;
      rows.push(
        judged({
          id: `passes.${base}.${tokens}`,
          work: `a pass over ${tokens} tokens, ${base}, 0.5B`,
          ours: `${rate.toFixed(0)} tokens/s, ${times(results[0])}`,
          peer: '',
          figure: rate,
          target: null,
          note: noteOf(results),
        }),
      );
    }
  }
  return rows;
}

/** Multiplications and additions in linear layers, with a shared prompt computed once. */
function linearFlops({ sequences, promptTokens, targetTokens, shared }: ScoreWork): number {
  const { hidden_size: d, intermediate_size: m, num_hidden_layers: layers, vocab_size: v } = qwenHalfBillion;
  const kv = (d / qwenHalfBillion.num_attention_heads) * qwenHalfBillion.num_key_value_heads;
  const tokens = (shared ? 1 : sequences) * promptTokens + sequences * targetTokens;
  return 2 * tokens * layers * (2 * d * d + 2 * d * kv + 3 * d * m) + 2 * sequences * targetTokens * d * v;
}

/** From the update of an adapter to the first token that it chose, idle and with other sequences being generated. */
export async function measureSwap(context: JobContext): Promise<Row[]> {
  const rows: Row[] = [];
  for (const quantization of ['none', 'w8a8'] as const) {
    const base = quantization === 'none' ? 'fp32' : quantization;
    await using ours = await startOurs(context, {
      kind: 'swap',
      shape: qwenHalfBillion,
      quantization,
      lora: adapter,
    });
    for (const [line, work] of [
      ['idle', `adapter update to first token, ${base}, 0.5B`],
      ['busy', '  while 4 sequences are generated'],
    ] as const) {
      const [result] = await compete([{ contestant: ours, line }], context.turns);
      context.record(`swap.${base}.${line}`, {}, [result]);
      rows.push(
        judged({
          id: `swap.${base}.${line}`,
          work,
          ours: times(result),
          peer: '',
          figure: result.minMs,
          target: { kind: 'atMost', value: 300, unit: 'ms' },
          note: noteOf([result]),
        }),
      );
    }
  }
  return rows;
}

/** From the start of a process to the first token of a model in bf16 safetensors that the system has in its cache. */
export async function measureLoad(context: JobContext): Promise<Row[]> {
  const folder = join(context.references.folder, 'qwen2.5-0.5b-bf16');
  makeRandomCheckpoint(folder, qwenHalfBillion);
  const starts: Result[] = [];
  for (let turn = 0; turn < context.turns; turn++) {
    await using ours = await startOurs(context, { kind: 'load', shape: qwenHalfBillion, folder });
    starts.push(...(await compete([{ contestant: ours, line: 'report' }], 1)));
  }
  context.record('load', {}, starts);
  const seconds = Math.min(...starts.map(({ minMs }) => minMs)) / 1000;
  return [
    judged({
      id: 'load',
      work: 'bf16 safetensors to first token, 0.5B',
      ours: `${seconds.toFixed(1)} s (${starts.map(({ minMs }) => formatMs(minMs)).join(', ')})`,
      peer: '',
      figure: seconds,
      target: { kind: 'atMost', value: 10, unit: 's' },
      note: '',
    }),
  ];
}
