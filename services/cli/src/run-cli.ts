import { CommanderError } from 'commander';
import { EXIT, ParleyError, exitCodeOf, signalExitCode } from '@parley/runtime';
import type { Cli } from './cli.js';
import { createProgram } from './program.js';

/** Why a command was told to end before it was done: what {@link Cli.signal} is aborted with. */
export class Interruption extends Error {
  override readonly name = 'Interruption';
  constructor(readonly signal: 'SIGINT' | 'SIGTERM') {
    super(`Stopped by ${signal}`);
  }
}

/**
 * Runs one command line. @returns the exit code, as `parley --help` lists them
 *
 * A failure is a line on standard error; with `--json` also `{"error": {code, reason, message}}` on standard output.
 */
export async function runCli(args: readonly string[], cli: Cli, version: string): Promise<number> {
  try {
    await createProgram(cli, version).parseAsync(args, { from: 'user' });
    return EXIT.ok;
  } catch (error) {
    const { reason } = cli.signal as { reason: unknown };
    if (cli.signal.aborted && reason instanceof Interruption) return signalExitCode(reason.signal);
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    report(error, cli, args.includes('--json'));
    return exitCodeOf(error);
  }
}

function report(thrown: unknown, cli: Cli, json: boolean): void {
  const error = ParleyError.from(thrown);
  cli.terminal.line(`parley: ${error.message}`);
  if (error.reason === 'INTERNAL') {
    const { cause } = error;
    const stack = cause instanceof Error ? cause.stack : error.stack;
    cli.terminal.line(`This is a defect in parley; please report it with these lines:\n${stack}`);
  }
  if (json) {
    const { code, reason, message } = error;
    cli.out(JSON.stringify({ error: { code, reason, message } }));
  }
}
