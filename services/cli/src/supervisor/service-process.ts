import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { deferred } from '@parley/runtime';
import { signalGroup } from './process-group.js';
import type { Keeper } from './keeper-client.js';

/** How a process ended: one of the two is set. */
export interface ExitStatus {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** The program could not be started at all. */
  error?: Error;
}

/** A program to start. */
export interface Program {
  command: string;
  args: readonly string[];
  env: Readonly<Record<string, string | undefined>>;
  /** Both output streams are appended here, without passing through this process. */
  logFile: string;
}

/** A running program, leader of its own process group. */
export interface ServiceProcess {
  /** Undefined if the program could not be started. */
  readonly pid: number | undefined;
  /** Resolves when it has ended; never rejects. */
  readonly exited: Promise<ExitStatus>;
  signal(signal: NodeJS.Signals): void;
  /** SIGTERM, then SIGKILL to whatever is left of the group after `graceMs`. Resolves when it has ended. */
  stop(graceMs: number): Promise<ExitStatus>;
}

/**
 * Starts a program in a process group of its own, so that Ctrl-C reaches only the supervisor, which then stops its
 * services in order. Output goes straight to the log file: a supervisor that dies breaks no pipe.
 */
export function startProcess(program: Program, keeper: Keeper): ServiceProcess {
  mkdirSync(dirname(program.logFile), { recursive: true });
  const log = openSync(program.logFile, 'a');
  const child = spawn(program.command, program.args, {
    env: program.env,
    detached: true,
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  const { promise: exited, resolve } = deferred<ExitStatus>();
  const { pid } = child;
  if (pid !== undefined) keeper.add(pid);
  child.once('error', (error) => resolve({ code: null, signal: null, error }));
  child.once('exit', (code, signal) => {
    if (pid !== undefined) {
      signalGroup(pid, 'SIGKILL');
      keeper.remove(pid);
    }
    resolve({ code, signal });
  });
  const signalChild = (signal: NodeJS.Signals) => {
    if (pid !== undefined && child.exitCode === null && child.signalCode === null) signalGroup(pid, signal);
  };
  return {
    pid,
    exited,
    signal: signalChild,
    async stop(graceMs) {
      signalChild('SIGTERM');
      const timer = setTimeout(() => signalChild('SIGKILL'), graceMs);
      try {
        return await exited;
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** `exit code 2`, `signal SIGKILL`, or why it could not be started. */
export function describeExit({ code, signal, error }: ExitStatus): string {
  if (error) return error.message;
  return signal === null ? `exit code ${code}` : `signal ${signal}`;
}
