import { join } from 'node:path';
import { compete } from './contest.js';
import { gigabytes, noteOf, startOurs, times, attempt } from './job.js';
import type { JobContext } from './job.js';
import { makeRandomCheckpoint } from './random-checkpoint.js';
import { startTorch } from './references.js';
import { formatMs } from './render.js';
import { judged } from './row.js';
import type { Row, Target } from './row.js';
import { qwenHalfBillion, qwenOneAndAHalfBillion, smallLlama } from './shapes.js';
import type { ModelShape } from './shapes.js';

const lora = { rank: 16, alpha: 32 };

/** LoRA step at the shape of Qwen2.5-0.5B beside PyTorch with PEFT, and what each keeps resident. */
export function measureLora(context: JobContext): Promise<Row[]> {
  return compareSteps(context, {
    id: 'lora',
    work: 'LoRA step, 0.5B, r = 16, 2 × 256, fp32',
    shape: qwenHalfBillion,
    rows: 2,
    tokens: 256,
    lora,
    target: 1.15,
    memoryTarget: 3.5,
  });
}

/** Full-parameter step at d = 256, 6 layers, beside PyTorch. */
export function measureFull(context: JobContext): Promise<Row[]> {
  return compareSteps(context, {
    id: 'full',
    work: 'full step, d = 256, 6 layers, 16 × 128',
    shape: smallLlama,
    rows: 16,
    tokens: 128,
    target: 1.25,
  });
}

interface StepComparison {
  readonly id: string;
  readonly work: string;
  readonly shape: ModelShape;
  readonly rows: number;
  readonly tokens: number;
  readonly lora?: { readonly rank: number; readonly alpha: number };
  /** How many times as fast as PyTorch. */
  readonly target: number;
  /** Gigabytes. */
  readonly memoryTarget?: number;
}

async function compareSteps(context: JobContext, step: StepComparison): Promise<Row[]> {
  const { id, work, shape, rows, tokens } = step;
  const target: Target = { kind: 'atLeast', value: step.target, unit: '×' };
  const adapter = step.lora ? { lora: step.lora } : {};
  return attempt([{ id, work, target }], async () => {
    const job = { shape, rows, tokens, ...adapter };
    await using torch = await startTorch(context.references, { ...job, compile: false });
    await using compiled = context.compile
      ? await startTorch(context.references, { ...job, compile: true })
      : null;
    await using engine = await startOurs(context, { kind: 'train', ...job });
    const contestants = [torch, ...(compiled ? [compiled] : []), engine];
    const results = await compete(
      contestants.map((contestant) => ({ contestant, line: 'step' })),
      context.turns,
    );
    context.record(id, torch.facts, results);
    const [ours, ...peers] = results.toReversed();
    const peer = peers.reduce((best, result) => (result.minMs < best.minMs ? result : best));
    const note = noteOf(results);
    const version = String(torch.facts['peer']);
    const speed = judged({
      id,
      work,
      ours: times(ours),
      peer: `${times(peer)} ${version}${peer.name.endsWith('compiled') ? ', compiled' : ''}`,
      figure: peer.minMs / ours.minMs,
      target,
      note,
    });
    if (step.memoryTarget === undefined) return [speed];
    const resident = gigabytes(ours.peakBytes);
    const memory = judged({
      id: `${id}.memory`,
      work: '  resident at most',
      ours: `${resident.toFixed(2)} GB`,
      peer: `${gigabytes(peer.peakBytes).toFixed(2)} GB`,
      figure: resident,
      target: { kind: 'atMost', value: step.memoryTarget, unit: 'GB' },
      note: '',
    });
    return [speed, memory];
  });
}

/**
 * Qwen2.5-1.5B from bf16 safetensors, answers to a question and LoRA steps of 1 × 256, told how much memory there is: what is resident
 * at most, loading included.
 */
export async function measureLarge(context: JobContext): Promise<Row[]> {
  const folder = join(context.references.folder, 'qwen2.5-1.5b-bf16');
  makeRandomCheckpoint(folder, qwenOneAndAHalfBillion);
  const rows: Row[] = [];
  for (const { quantization, id, base, gigabytesAllowed } of [
    { quantization: 'none', id: 'large.fp32', base: 'fp32', gigabytesAllowed: 12 },
    { quantization: 'w8a8', id: 'large.w8a8', base: '8-bit base', gigabytesAllowed: 5 },
  ] as const) {
    const work = `load bf16, answers and LoRA step, 1.5B, 1 × 256, ${base}`;
    const target: Target = { kind: 'atMost', value: gigabytesAllowed, unit: 'GB' };
    rows.push(
      ...(await attempt([{ id, work, target }], async () => {
        const shape = qwenOneAndAHalfBillion;
        const memoryBytes = gigabytesAllowed * 1e9;
        const job = { rows: 1, tokens: 256, shape, folder, lora, quantization, memoryBytes, answers: 4 };
        await using ours = await startOurs(context, { kind: 'train', ...job });
        const [result] = await compete([{ contestant: ours, line: 'step' }], 1);
        context.record(id, {}, [result]);
        const resident = gigabytes(result.peakBytes);
        const text = `${resident.toFixed(2)} GB, ${formatMs(result.minMs)} a step`;
        return [judged({ id, work, ours: text, peer: '', figure: resident, target, note: '' })];
      })),
    );
  }
  return rows;
}
