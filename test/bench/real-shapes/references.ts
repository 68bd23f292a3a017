import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Skipped, startContestant } from './contestant.js';
import type { Contestant } from './contestant.js';
import type { ModelShape } from './shapes.js';

/** Where the programs we compare with are, and what they share with us. */
export interface References {
  /** Pythons with the packages of `reference/requirements.txt`; one may serve as both. */
  readonly torchPython: string;
  readonly llamaPython: string;
  /** For model files, kept for the next run. */
  readonly folder: string;
  readonly threads: number;
  readonly cores: number;
}

/** The sources: what is compiled lies in test/dist/bench/real-shapes. */
const programs = fileURLToPath(new URL('../../../bench/reference', import.meta.url));

/** PyTorch's step of a shape, with PEFT's LoRA if asked for. */
export async function startTorch(
  references: References,
  job: {
    readonly shape: ModelShape;
    readonly rows: number;
    readonly tokens: number;
    readonly lora?: { readonly rank: number; readonly alpha: number };
    readonly compile: boolean;
  },
): Promise<Contestant> {
  const python = requirePython(references.torchPython, 'PARLEY_BENCH_TORCH_PYTHON');
  const { shape, ...rest } = job;
  const text = JSON.stringify({ config: shape, ...rest, threads: references.threads });
  const name = `PyTorch${job.compile ? ' compiled' : ''}`;
  return startContestant(name, python, [join(programs, 'torch_step.py'), text], references.cores);
}

/** llama.cpp on a model of a shape, which is written the first time. */
export async function startLlama(
  references: References,
  job: {
    readonly shape: ModelShape;
    readonly name: string;
    readonly type: 'F32' | 'Q8_0';
    readonly batches: readonly number[];
    readonly promptTokens: number;
    readonly newTokens: number;
  },
): Promise<Contestant> {
  const python = requirePython(references.llamaPython, 'PARLEY_BENCH_LLAMA_PYTHON');
  const { batches, promptTokens, newTokens } = job;
  const path = await writeGguf(python, references.folder, job);
  const text = JSON.stringify({ path, batches, promptTokens, newTokens, threads: references.threads });
  return startContestant(
    `llama.cpp ${job.type}`,
    python,
    [join(programs, 'llama_decode.py'), text],
    references.cores,
  );
}

async function writeGguf(
  python: string,
  folder: string,
  { shape, name, type }: { shape: ModelShape; name: string; type: string },
): Promise<string> {
  const path = join(folder, `${name}-${type}.gguf`);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  const unfinished = `${path}.unfinished`;
  const text = JSON.stringify({ config: shape, type, path: unfinished });
  await promisify(execFile)(python, [join(programs, 'write_gguf.py'), text]);
  renameSync(unfinished, path);
  return path;
}

function requirePython(path: string, variable: string): string {
  if (existsSync(path)) return path;
  throw new Skipped(
    `${path} is not there: run test/bench/setup-references.sh, or name a Python in ${variable}`,
  );
}
