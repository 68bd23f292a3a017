import { Command } from 'commander';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { ParleyError, pause, sha256 } from '@parley/runtime';
import type { Cli } from '../cli.js';
import { collect, fromCwd } from './common-options.js';

interface NatsReloadOptions {
  pid: string;
  watch: string[];
  interval: number;
}

/** `parley nats-reload`. */
export function natsReloadCommand(cli: Cli): Command {
  const command = new Command('nats-reload')
    .summary('let a nats-server read its files again when they change')
    .description(
      'Looks at the configuration and certificates of a nats-server that runs beside it, and tells it to read them again ' +
        '(SIGHUP) when any changes. Runs until it is stopped; for deployments.',
    )
    .requiredOption('--pid <file>', "nats-server's pid_file")
    .requiredOption('--watch <file>', 'file to look at (repeatable)', collect)
    .option('--interval <seconds>', 'pause between two looks', Number, 10);
  return command.action(async (options: NatsReloadOptions) => reload(cli, options));
}

/** The first look makes it read them too: they may have changed while nobody looked. */
async function reload(cli: Cli, { pid, watch, interval }: NatsReloadOptions): Promise<void> {
  const files = watch.map((file) => fromCwd(cli, file));
  const pidFile = fromCwd(cli, pid);
  let known: string | undefined;
  while (!cli.signal.aborted) {
    const now = await digest(files);
    if (now !== known && existsSync(pidFile)) {
      process.kill(await readPid(pidFile), 'SIGHUP');
      cli.terminal.line(`nats-server reads ${watch.join(', ')} again`);
      known = now;
    }
    await pause(interval * 1000, cli.signal);
  }
}

async function readPid(file: string): Promise<number> {
  const id = Number(await readFile(file, 'utf8'));
  if (Number.isSafeInteger(id) && id > 1) return id;
  throw new ParleyError('CONFIG_INVALID', `${file} holds no process id; is it nats-server's pid_file?`);
}

async function digest(files: readonly string[]): Promise<string> {
  const digests = await Promise.all(files.map(async (file) => sha256(await readFile(file))));
  return digests.join();
}
