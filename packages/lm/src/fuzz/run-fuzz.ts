import { fork } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { randomCase, sweepCases } from './fuzz-case.js';
import { findTarget } from './fuzz-targets.js';

/** What a fuzz process is given. */
export interface FuzzJob {
  readonly target: string;
  /** All fields with all values of the sweep, or random mutations. */
  readonly kind: 'sweep' | 'random';
  readonly seed: number;
  /** The first case, and one more than the last: null for all of a sweep. */
  readonly from: number;
  readonly to: number | null;
  /** Of so many cases one is run. */
  readonly stride: number;
  /** A folder for the process, gone afterwards; `progress` in it holds the case at work. */
  readonly folder: string;
}

/** A case that did not end as it should. */
export interface CaseFailure {
  readonly index: number;
  /** The file and what was done to it. */
  readonly what: string;
  readonly complaint: string;
  readonly error: string;
  readonly stack: string;
}

/** What a fuzz process reports: a failure, or that all cases are done. */
export type FuzzReport = CaseFailure | { readonly ran: number };

/** Bounds that hold for every case, enforced from outside the process that runs it. */
export interface FuzzLimits {
  readonly caseMs: number;
  /** JavaScript heap of the process; more ends it. */
  readonly heapMegabytes: number;
  /** Give up after so many failures. */
  readonly maxFailures: number;
}

/**
 * Runs cases in a process of their own, since running out of memory cannot be caught. A case that takes longer than
 * `caseMs`, or ends its process, is a failure; a new process goes on behind it.
 */
export async function runFuzz(
  job: Omit<FuzzJob, 'folder'>,
  limits: FuzzLimits,
): Promise<{ readonly ran: number; readonly failures: readonly CaseFailure[] }> {
  const failures: CaseFailure[] = [];
  let from = job.from;
  let ran = 0;
  while (failures.length < limits.maxFailures) {
    const folder = mkdtempSync(join(tmpdir(), 'parley-fuzz-'));
    try {
      const ended = await runProcess({ ...job, from, folder }, limits, failures);
      if (typeof ended === 'number') return { ran: ran + ended, failures };
      const index = progressOf(folder) ?? from;
      failures.push({ index, what: await describe(job, index), complaint: ended, error: '', stack: '' });
      ran += (index - from) / job.stride + 1;
      from = index + job.stride;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  return { ran, failures };
}

/** The number of cases run, or how the process failed at the case that its progress tells. */
function runProcess(job: FuzzJob, limits: FuzzLimits, failures: CaseFailure[]): Promise<number | string> {
  return new Promise((resolve) => {
    const child = fork(fileURLToPath(new URL('./fuzz-process.js', import.meta.url)), [JSON.stringify(job)], {
      execArgv: [`--max-old-space-size=${limits.heapMegabytes}`],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    let result: number | string | undefined;
    let errorOutput = '';
    child.stderr?.on(
      'data',
      (chunk: Buffer) => (errorOutput = (errorOutput + chunk.toString()).slice(-4000)),
    );
    let latest: number | null = null;
    let since = performance.now();
    const watchdog = setInterval(() => {
      const index = progressOf(job.folder);
      if (index !== latest) {
        latest = index;
        since = performance.now();
      } else if (performance.now() - since > limits.caseMs) finish(`still running after ${limits.caseMs} ms`);
    }, 200);
    const finish = (how: number | string): void => {
      clearInterval(watchdog);
      result ??= how;
      child.kill('SIGKILL');
    };
    child.on('message', (message: FuzzReport) => {
      if ('ran' in message) return finish(message.ran);
      failures.push(message);
      if (failures.length >= limits.maxFailures) finish((message.index - job.from) / job.stride + 1);
    });
    child.once('close', (code, signal) => {
      clearInterval(watchdog);
      const fatal = /FATAL ERROR.*|Error:.*/.exec(errorOutput)?.[0] ?? errorOutput.slice(-300);
      resolve(result ?? `ended its process (${signal ?? code}): ${fatal}`);
    });
  });
}

/** The case at work; null before the first. */
function progressOf(folder: string): number | null {
  try {
    return readFileSync(join(folder, 'progress')).readUInt32LE(0);
  } catch {
    return null; // not written yet
  }
}

async function describe(
  { target: name, kind, seed }: Omit<FuzzJob, 'folder'>,
  index: number,
): Promise<string> {
  const bases = await findTarget(name).bases();
  const { base, file, mutation } =
    kind === 'sweep' ? sweepCases(bases)[index]() : randomCase(bases, name, seed, index);
  return `${base.label}/${file}: ${mutation.description}`;
}
