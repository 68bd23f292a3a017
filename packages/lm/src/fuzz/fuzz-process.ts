import { mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { LmError } from '../lm-error.js';
import { randomCase, sweepCases } from './fuzz-case.js';
import type { FuzzBase, FuzzCase } from './fuzz-case.js';
import { findTarget } from './fuzz-targets.js';
import type { CaseFailure, FuzzJob, FuzzReport } from './run-fuzz.js';

/** Runs the cases of a job one by one and notes the case at work for the watchdog outside. */
async function work(job: FuzzJob): Promise<void> {
  const target = findTarget(job.target);
  const bases = await target.bases();
  const use = await target.open();
  const folders = new Map(bases.map((base, i) => [base, writeBase(job.folder, i, base)]));
  const sweep = job.kind === 'sweep' ? sweepCases(bases) : null;
  const to = Math.min(job.to ?? Infinity, sweep?.length ?? Infinity);
  let ran = 0;
  const progress = openSync(join(job.folder, 'progress'), 'w');
  const index32 = new Uint32Array(1);
  for (let index = job.from; index < to; index += job.stride) {
    index32[0] = index;
    writeSync(progress, index32, 0, 4, 0);
    const fuzzCase = sweep ? sweep[index]() : randomCase(bases, target.name, job.seed, index);
    const folder = folders.get(fuzzCase.base)!;
    writeFileSync(join(folder, fuzzCase.file), fuzzCase.mutation.bytes);
    const problem = await outcome(use, folder, fuzzCase);
    if (problem !== null) await report({ index, ...problem });
    writeFileSync(join(folder, fuzzCase.file), fuzzCase.base.files[fuzzCase.file]);
    ran++;
  }
  await report({ ran });
}

function report(message: FuzzReport): Promise<void> {
  return new Promise((resolve) => process.send!(message, () => resolve()));
}

function writeBase(parent: string, index: number, base: FuzzBase): string {
  const folder = join(parent, `${index}-${base.label}`);
  mkdirSync(folder);
  for (const [file, content] of Object.entries(base.files)) writeFileSync(join(folder, file), content);
  return folder;
}

/** What is wrong with how a case ended, or null. */
async function outcome(
  use: (folder: string) => Promise<void> | void,
  folder: string,
  { base, file, mutation }: FuzzCase,
): Promise<Omit<CaseFailure, 'index'> | null> {
  const what = `${base.label}/${file}: ${mutation.description}`;
  try {
    await use(folder);
    return null;
  } catch (error) {
    const complaint = judge(error, base, file, mutation.path);
    if (complaint === null) return null;
    const shown = error instanceof Error ? `${error.name}: ${error.message.slice(0, 500)}` : String(error);
    const stack = error instanceof Error && !(error instanceof LmError) ? (error.stack ?? '') : '';
    return { what, complaint, error: shown, stack: stack.split('\n').slice(1, 5).join('\n') };
  }
}

/** Reasons about a file as a whole, in which there is no field to name. */
const wholeFile = [
  'JSON_INVALID',
  'FILE_MISSING',
  'FILE_UNREADABLE',
  'SAFETENSORS_INVALID',
  'SAFETENSORS_TRUNCATED',
];

function judge(error: unknown, base: FuzzBase, file: string, path: readonly string[] | null): string | null {
  if (!(error instanceof LmError) || error.reason === 'WORKER_FAILED') return 'not an error of this package';
  const { message, reason } = error;
  if (message.length > 1500) return `a message of ${message.length} characters`;
  if (![...Object.keys(base.files), ...(base.labels ?? [])].some((name) => message.includes(name)))
    return 'names no file';
  if (!wholeFile.includes(reason) && !/"[^"]*"/.test(message)) return 'names no field';
  const aboutField = reason === 'CONFIG_INVALID' || reason === 'TOKENIZER_INVALID';
  if (
    aboutField &&
    path &&
    path.length > 0 &&
    !path.some((key) => message.includes(JSON.stringify(key).slice(1, -1)))
  )
    return `names none of ${path.join(' > ')}`;
  if (aboutField && !message.includes(file)) return `does not name ${file}`;
  return null;
}

await work(JSON.parse(process.argv[2]) as FuzzJob);
