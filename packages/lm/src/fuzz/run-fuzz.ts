import { Worker } from 'node:worker_threads';
import { randomCase, sweepCases } from './fuzz-case.js';
import { fuzzTargets } from './fuzz-targets.js';

/** What a fuzz worker is given. */
export interface FuzzJob {
  readonly target: string;
  /** All fields with all values of the sweep, or random mutations. */
  readonly kind: 'sweep' | 'random';
  readonly seed: number;
  /** The first case, and one more than the last. */
  readonly from: number;
  readonly to: number;
  /** Shared; element 0 is the case at work. */
  readonly progress: Int32Array;
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

/** Bounds that hold for every case, enforced from outside the thread that runs it. */
export interface FuzzLimits {
  readonly caseMs: number;
  /** JavaScript heap of the worker; more ends it. */
  readonly heapMegabytes: number;
  /** Give up after so many failures. */
  readonly maxFailures: number;
}

/**
 * Runs cases in worker threads. A case that takes longer than `caseMs`, or ends its thread, is a failure; a new thread
 * goes on behind it.
 */
export async function runFuzz(
  job: Omit<FuzzJob, 'progress'>,
  limits: FuzzLimits,
): Promise<{ readonly ran: number; readonly failures: readonly CaseFailure[] }> {
  const failures: CaseFailure[] = [];
  let from = job.from;
  let ran = 0;
  while (failures.length < limits.maxFailures) {
    const progress = new Int32Array(new SharedArrayBuffer(4));
    progress[0] = from;
    const ended = await runThread({ ...job, from, progress }, limits, failures);
    if (typeof ended === 'number') return { ran: ran + ended, failures };
    const index = progress[0];
    failures.push({ index, what: await describe(job, index), complaint: ended, error: '', stack: '' });
    ran += index - from;
    from = index + 1;
  }
  return { ran, failures };
}

/** The number of cases run, or how the thread failed at the case that `job.progress` tells. */
function runThread(job: FuzzJob, limits: FuzzLimits, failures: CaseFailure[]): Promise<number | string> {
  return new Promise((resolve) => {
    const worker = new Worker(new URL('./fuzz-worker.js', import.meta.url), {
      workerData: job,
      resourceLimits: { maxOldGenerationSizeMb: limits.heapMegabytes },
    });
    let latest = -1;
    let since = performance.now();
    const watchdog = setInterval(() => {
      const index = Atomics.load(job.progress, 0);
      if (index !== latest) {
        latest = index;
        since = performance.now();
      } else if (performance.now() - since > limits.caseMs) finish(`still running after ${limits.caseMs} ms`);
    }, 100);
    const finish = (result: number | string): void => {
      clearInterval(watchdog);
      resolve(result);
      void worker.terminate();
    };
    worker.on('message', (message: CaseFailure | { ran: number }) => {
      if ('ran' in message) return finish(message.ran);
      failures.push(message);
      if (failures.length >= limits.maxFailures) finish(message.index - job.from + 1);
    });
    worker.once('error', (error: NodeJS.ErrnoException) =>
      finish(`ended its thread: ${error.code ?? ''} ${error.stack ?? error.message}`),
    );
    worker.once('exit', (code) => finish(`ended its thread with code ${code}`));
  });
}

async function describe({ target: name, kind, seed }: Omit<FuzzJob, 'progress'>, index: number): Promise<string> {
  const target = fuzzTargets.find((candidate) => candidate.name === name);
  if (!target) return name;
  const bases = await target.bases();
  const { base, file, mutation } = kind === 'sweep' ? sweepCases(bases)[index]() : randomCase(bases, name, seed, index);
  return `${base.label}/${file}: ${mutation.description}`;
}
