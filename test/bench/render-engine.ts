import type { DecodeBench, TrainingBench } from './engine.js';

/** Share of onnxruntime's matrix-multiply rate that a training step is to reach. */
export const TRAINING_TARGET = 0.9;
/** How many times as fast as transformers.js a decoding step at batch 32 is to be. */
export const DECODE_TARGET = 1.5;

type Row = [what: string, figure: string, note: string];

/** What the engine's benchmarks found, as a table. */
export function renderEngineBench(found: { training: TrainingBench; decode: DecodeBench }): string {
  const { training, decode } = found;
  const rows: Row[] = [
    ['training step', ms(training.stepMs), `${Math.round(training.tokensPerSecond)} tokens/s`],
    ['  its matrix products', ms(training.productsMs), `${Math.round(training.productsGigaflops)} GFLOP/s`],
    ['  share', training.ratio.toFixed(2), verdict(training.ratio, TRAINING_TARGET)],
    ['decoding step', ms(decode.stepMs), `${Math.round(decode.tokensPerSecond)} tokens/s`],
    ...comparison(decode.peer),
  ];
  const [first, second] = [0, 1].map((column) => Math.max(...rows.map((row) => row[column].length)));
  const lines = rows.map(
    ([what, figure, note]) => `${what.padEnd(first)}  ${figure.padStart(second)}  ${note}`,
  );
  return [
    'Engine: d = 256, 6 layers; training 16 × 128 tokens, decoding 32 at a time; processor time, one thread',
    ...lines,
  ].join('\n');
}

function comparison(peer: DecodeBench['peer']): Row[] {
  if ('skipped' in peer) return [['  transformers.js', 'skipped', peer.skipped]];
  return [
    [`  transformers.js ${peer.version}`, ms(peer.stepMs), `${percent(peer.sameTokens)} of tokens equal`],
    ['  times as fast', peer.speedup.toFixed(2), verdict(peer.speedup, DECODE_TARGET)],
  ];
}

function ms(value: number): string {
  return `${value.toFixed(value < 100 ? 1 : 0)} ms`;
}

function percent(share: number): string {
  return `${Math.round(100 * share)} %`;
}

function verdict(value: number, target: number): string {
  return `target ${target} or more: ${value >= target ? 'met' : 'not met'}`;
}
