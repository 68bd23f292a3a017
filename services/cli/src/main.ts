import { readFileSync } from 'node:fs';
import { signalExitCode } from '@parley/runtime';
import type { Cli } from './cli.js';
import { createTerminal } from './output/terminal.js';
import { Interruption, runCli } from './run-cli.js';
import { parentGone } from './supervisor/parent-gone.js';

/** A signal to the whole process group arrives once from the system and once more from whoever passes it on. */
const ECHO_MS = 500;

const interrupted = new AbortController();
let interruptedMs = Infinity;
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => {
    const signal = name === 'SIGINT' ? 'SIGINT' : 'SIGTERM';
    // The keeper ends whatever is left of a mesh when this process is gone.
    if (performance.now() - interruptedMs > ECHO_MS) process.exit(signalExitCode(signal));
    if (interrupted.signal.aborted) return;
    interruptedMs = performance.now();
    interrupted.abort(new Interruption(signal));
  });
}
const orphanable = new AbortController();
void parentGone(AbortSignal.any([interrupted.signal, orphanable.signal])).then(() => {
  if (!orphanable.signal.aborted) interrupted.abort(new Interruption('SIGTERM'));
});

const cli: Cli = {
  env: process.env,
  cwd: process.cwd(),
  stdin: process.stdin,
  out: (text) => void process.stdout.write(`${text}\n`),
  terminal: createTerminal({ sink: process.stderr }),
  signal: interrupted.signal,
  outliveParent: () => orphanable.abort(),
  now: () => new Date(),
  random: Math.random,
};
const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};
const code = await runCli(process.argv.slice(2), cli, manifest.version);
// Written out first: what is left of a pipe's data would be lost at exit.
process.stdout.write('', () => process.exit(code));
