import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** How a program ended. */
export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** A program that was started. */
export interface Launched extends AsyncDisposable {
  readonly pid: number;
  /** Everything it wrote to standard output so far: a service's log. */
  readonly stdout: string;
  readonly exited: Promise<Exit>;
  signal(signal: NodeJS.Signals): void;
}

/** Entry point of a service or of the command line. */
export function mainOf(program: 'peer' | 'coordinator' | 'pmi' | 'cli'): string {
  return join(dirname(createRequire(import.meta.url).resolve(`@parley/${program}`)), 'main.js');
}

/** Starts a program of ours with nothing in its environment but what is given. Disposal kills it. */
export function launch(
  program: Parameters<typeof mainOf>[0],
  env: Readonly<Record<string, string | undefined>>,
  args: readonly string[] = [],
): Launched {
  const child = spawn(process.execPath, [mainOf(program), ...args], {
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()));
  const exited = once(child, 'close').then((result): Exit => {
    const [code, signal] = result as [Exit['code'], Exit['signal']];
    return { ...output, code, signal };
  });
  return {
    pid: child.pid ?? 0,
    get stdout() {
      return output.stdout;
    },
    exited,
    signal: (signal) => void child.kill(signal),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** Runs a program to its end. */
export async function run(...args: Parameters<typeof launch>): Promise<Exit> {
  await using launched = launch(...args);
  return await launched.exited;
}
