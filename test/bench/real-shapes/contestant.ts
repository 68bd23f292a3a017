import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { machineCpuMs, processCpuMs } from './machine.js';

/** What a program answers after its turn; a job may add figures of its own. */
export interface Measurement {
  /** Time on the clock. */
  readonly ms: number;
  /** Most memory the program has had resident since it started. */
  readonly peakBytes: number;
  readonly [figure: string]: number;
}

/** One turn, with what else the machine did meanwhile. */
export interface Turn extends Measurement {
  /** Share of the machine's processor time that other programs took, in [0, 1]. */
  readonly othersShare: number;
}

/** A program that works when it is its turn, and waits without using the processor otherwise. */
export interface Contestant extends AsyncDisposable {
  readonly name: string;
  /** What it said of itself when it was ready: versions, build options. */
  readonly facts: Readonly<Record<string, unknown>>;
  /** Runs one turn; `line` says which work, where a program knows several. */
  turn(line: string): Promise<Turn>;
}

/** Why a comparison was left out, in words for the table. */
export class Skipped extends Error {}

/**
 * Starts a program that speaks the protocol of `test/bench/reference/turns.py`: one line of JSON when it is ready, and one for
 * each line it is given.
 * @throws Error with what it wrote to standard error when it ends too early.
 */
export async function startContestant(
  name: string,
  command: string,
  args: readonly string[],
  cores: number,
): Promise<Contestant> {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let complaints = '';
  child.stderr.on('data', (chunk: Buffer) => (complaints = (complaints + chunk.toString()).slice(-4000)));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const exited = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(`exit code ${code}, signal ${signal}`));
  });
  const answer = async (): Promise<Record<string, unknown>> => {
    const line: IteratorResult<string, unknown> = await lines.next();
    if (line.done === true) throw new Error(`${name} ended (${await exited}):\n${complaints}`);
    return JSON.parse(line.value) as Record<string, unknown>;
  };
  child.stdin.on('error', (error) => (complaints += `\nstandard input: ${error.message}`));
  const facts = await answer();
  return {
    name,
    facts,
    async turn(line) {
      const [machine, own, clock] = [machineCpuMs(), processCpuMs(child.pid!), performance.now()];
      child.stdin.write(`${line}\n`);
      const measured = (await answer()) as unknown as Measurement;
      const others = machineCpuMs() - machine - (processCpuMs(child.pid!) - own);
      const capacity = (performance.now() - clock) * cores;
      return { ...measured, othersShare: Math.max(0, others / capacity) };
    },
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
      if (child.exitCode === null && child.signalCode === null) await once(child, 'close');
      clearTimeout(timer);
    },
  };
}
