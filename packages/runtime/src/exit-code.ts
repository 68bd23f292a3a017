import { ParleyError } from './errors.js';

/** Exit codes of every Parley process and of the command line. Scripts rely on them. */
export const EXIT = {
  ok: 0,
  /** Something went wrong while working. */
  failure: 1,
  /** The input is at fault: options, environment, files or a run specification. */
  usage: 2,
  /** Something needed is missing or not answering: nats-server, a peer, an address. */
  unavailable: 3,
  /** The deadline passed before the work was done. */
  deadline: 4,
} as const;

/** Exit code for an interrupted process, as shells count it: 128 + the signal's number (SIGINT 2, SIGTERM 15). */
export function signalExitCode(signal: 'SIGINT' | 'SIGTERM'): number {
  return signal === 'SIGINT' ? 130 : 143;
}

/** The exit code that tells a script which kind of failure ended the process. */
export function exitCodeOf(thrown: unknown): number {
  const { code, reason } = ParleyError.from(thrown);
  if (reason.startsWith('NATS_') || code === 'UNAVAILABLE') return EXIT.unavailable;
  if (code === 'INVALID_ARGUMENT' || code === 'NOT_FOUND') return EXIT.usage;
  return code === 'DEADLINE_EXCEEDED' ? EXIT.deadline : EXIT.failure;
}
