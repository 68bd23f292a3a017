import { fileURLToPath } from 'node:url';
import { Skipped, startContestant } from './contestant.js';
import type { Contestant } from './contestant.js';
import type { Result } from './contest.js';
import type { OurJob } from './ours.js';
import type { References } from './references.js';
import { formatMs } from './render.js';
import { missing } from './row.js';
import type { Row, Target } from './row.js';

/** What every job is given. */
export interface JobContext {
  readonly references: References;
  /** Whether our idle threads spin. */
  readonly spinning: boolean;
  /** Undisturbed turns wanted of each side. */
  readonly turns: number;
  /** Whether PyTorch also runs compiled, which takes a minute to begin and needs a C++ compiler; the faster counts. */
  readonly compile: boolean;
  /** Keeps all turns, for the JSON. */
  record(job: string, facts: Readonly<Record<string, unknown>>, results: readonly Result[]): void;
}

/** A group of rows that is measured together. */
export type Job = (context: JobContext) => Promise<Row[]>;

/** A job without what the context decides. */
export type OurWork = OurJob extends infer J
  ? J extends OurJob
    ? Omit<J, 'threads' | 'spinning'>
    : never
  : never;

/** Starts our side of a job in a process of its own. */
export function startOurs(context: JobContext, work: OurWork): Promise<Contestant> {
  const { threads, cores } = context.references;
  const program = fileURLToPath(new URL('./ours.js', import.meta.url));
  const job = JSON.stringify({ ...work, threads, spinning: context.spinning });
  return startContestant('ours', process.execPath, [program, job], cores);
}

/**
 * Runs a measurement. Where what it needs is not installed, or a program failed, its rows say so and the others go on; a failure also
 * decides the exit code.
 */
export async function attempt(
  rows: readonly { readonly id: string; readonly work: string; readonly target: Target | null }[],
  measure: () => Promise<Row[]>,
): Promise<Row[]> {
  try {
    return await measure();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (!(error instanceof Skipped)) {
      console.error(error);
      process.exitCode = 1;
    }
    const reason = error instanceof Skipped ? `skipped: ${message}` : `failed: ${message.split('\n', 1)[0]}`;
    return rows.map(({ id, work, target }) => missing(id, work, target, reason));
  }
}

/** What a reader must know of the results behind a row. */
export function noteOf(results: readonly Result[]): string {
  return results.every(({ clean }) => clean) ? '' : 'the machine was busy with other programs';
}

/** Least and median time of a result. */
export function times({ minMs, medianMs }: Pick<Result, 'minMs' | 'medianMs'>): string {
  return `${formatMs(minMs)} (median ${formatMs(medianMs)})`;
}

/** Bytes in gigabytes of 10^9. */
export function gigabytes(bytes: number): number {
  return bytes / 1e9;
}
