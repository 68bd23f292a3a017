import { createInterface } from 'node:readline';
import { peakBytes } from './machine.js';

/** The counterpart of `test/bench/reference/turns.py`: serves turns until standard input ends. */
export async function serveTurns(
  facts: Readonly<Record<string, unknown>>,
  turn: (line: string) => Promise<{ readonly ms: number; readonly [figure: string]: number }>,
): Promise<void> {
  console.log(JSON.stringify({ ready: true, ...facts }));
  for await (const line of createInterface({ input: process.stdin })) {
    const measured = await turn(line);
    console.log(JSON.stringify({ ...measured, peakBytes: peakBytes() }));
  }
}

/** Runs some work. @returns the time on the clock, in milliseconds */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
