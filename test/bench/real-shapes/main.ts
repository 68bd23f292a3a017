/**
 * `npm run bench:engine`: the engine at the size of real models beside PyTorch, PEFT, llama.cpp and onnxruntime itself.
 *
 *   npm run bench:engine -- [lora] [full] [decode-8bit] [decode-fp32] [scoring] [passes] [swap] [load] [large]
 *                           [--threads N] [--turns N] [--no-compile] [--no-spinning] [--json FILE]
 *
 * Without a name everything is measured. The exit code says whether the measurement worked, not whether targets were met.
 */
import { writeFileSync } from 'node:fs';
import { availableParallelism, homedir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Result } from './contest.js';
import {
  measureDecode8Bit,
  measureDecodeFp32,
  measureLoad,
  measurePasses,
  measureScoring,
  measureSwap,
} from './inference-jobs.js';
import { attempt } from './job.js';
import type { Job, JobContext } from './job.js';
import { describeMachine } from './machine.js';
import { formatMs, renderRows } from './render.js';
import type { Row } from './row.js';
import { measureFull, measureLarge, measureLora } from './train-jobs.js';

const jobs: Readonly<Record<string, Job>> = {
  lora: measureLora,
  full: measureFull,
  'decode-8bit': measureDecode8Bit,
  'decode-fp32': measureDecodeFp32,
  scoring: measureScoring,
  passes: measurePasses,
  swap: measureSwap,
  load: measureLoad,
  large: measureLarge,
};

const { values, positionals } = parseArgs({
  options: {
    threads: { type: 'string', default: String(availableParallelism()) },
    turns: { type: 'string', default: '3' },
    compile: { type: 'boolean', default: true },
    spinning: { type: 'boolean', default: true },
    json: { type: 'string' },
  },
  allowPositionals: true,
  allowNegative: true,
});
const unknown = positionals.find((name) => !(name in jobs));
if (unknown !== undefined)
  fail(`There is no benchmark "${unknown}"; choose from ${Object.keys(jobs).join(', ')}`);
const [threads, turns] = [positive('threads', values.threads), positive('turns', values.turns)];

const folder = process.env['PARLEY_BENCH_FOLDER'] ?? join(homedir(), '.cache', 'parley', 'bench');
const python = join(folder, 'venv', 'bin', 'python');
const machine = describeMachine();
const measurements: { job: string; facts: unknown; results: readonly Result[] }[] = [];
const rows: Row[] = [];
for (const [name, job] of Object.entries(jobs)) {
  if (positionals.length > 0 && !positionals.includes(name)) continue;
  console.error(`Measuring ${name} …`);
  const context: JobContext = {
    references: {
      torchPython: process.env['PARLEY_BENCH_TORCH_PYTHON'] ?? python,
      llamaPython: process.env['PARLEY_BENCH_LLAMA_PYTHON'] ?? python,
      folder: join(folder, 'models'),
      threads,
      cores: machine.cores,
    },
    spinning: values.spinning,
    turns,
    compile: values.compile,
    record(recorded, facts, results) {
      measurements.push({ job: recorded, facts, results });
      const each = results.map((result) => `${result.name} ${result.line}: ${formatMs(result.minMs)}`);
      console.error(`  ${recorded}: ${each.join(', ')}`);
    },
  };
  rows.push(...(await attempt([{ id: name, work: name, target: null }], () => job(context))));
}
const cores = `${machine.cores} cores of ${machine.processor}`;
console.log(
  renderRows(
    rows,
    `Engine at real shapes: ${cores}, ${threads} threads a side; times on the clock, least of the turns`,
  ),
);
if (values.json !== undefined) {
  const options = { threads, turns, spinning: values.spinning, compile: values.compile };
  const text = JSON.stringify(
    { at: new Date().toISOString(), machine, options, rows, measurements },
    null,
    1,
  );
  writeFileSync(values.json, `${text}\n`);
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) fail(`--${name} is ${text}; give a positive integer`);
  return value;
}

function fail(message: string): never {
  console.error(message);
  process.exit(2);
}
