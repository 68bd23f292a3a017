import type { Readable } from 'node:stream';
import type { Terminal } from './output/terminal.js';

/** Everything a command touches outside itself: what a test replaces. */
export interface Cli {
  env: Readonly<Record<string, string | undefined>>;
  /** Folder that relative paths of options start from. */
  cwd: string;
  stdin: Readable;
  /** Writes a result, with a line end, to standard output. Nothing else goes there. */
  out(text: string): void;
  /** What is happening, for people, on standard error. */
  terminal: Terminal;
  /** Aborted when the user interrupts, or when whoever started the command is gone. */
  signal: AbortSignal;
  /** From now on the command goes on when whoever started it is gone. */
  outliveParent: () => void;
  now: () => Date;
  /** Uniform in [0, 1). */
  random: () => number;
}
