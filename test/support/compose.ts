import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { freePorts } from '@parley/cli';
import { NATS_IMAGE } from './container-mesh.js';

const FILE = fileURLToPath(new URL('../../../deploy/compose/compose.yaml', import.meta.url));

/** `deploy/compose` under a name and a port of its own. */
export interface ComposeDemo {
  /** Starts it in the background. */
  up(): void;
  /** Waits for the end of the run. @returns the exit code of its client, and what it printed, each line with its time */
  wait(): { code: number; log: string };
  /** Removes everything, volumes too. */
  down(): void;
}

/** Docker's compose as this machine has it; `undefined` if it has none. */
export function findCompose(): string[] | undefined {
  const programs = [['docker', 'compose'], ['docker-compose']];
  return programs.find(([program = '', ...args]) => spawnSync(program, [...args, 'version']).status === 0);
}

export async function composeDemo([program = '', ...first]: string[]): Promise<ComposeDemo> {
  const [port] = await freePorts(1);
  const project = `parley-test-${port}`;
  const env = {
    ...process.env,
    PARLEY_PORT: String(port),
    // Debian's nats-server does not know every setting.
    ...(NATS_IMAGE.startsWith('parley-local/') && { NATS_IMAGE, NATS_CONFIG: 'nats-2.9.conf' }),
  };
  const run = (command: string, args: readonly string[]) => {
    const { status, stdout, stderr, error } = spawnSync(command, args, { env, encoding: 'utf8' });
    if (status !== 0) throw error ?? new Error(`${command} ${args.join(' ')}: ${stdout}${stderr}`);
    return `${stdout}${stderr}`;
  };
  const compose = (...args: string[]) => run(program, [...first, '-f', FILE, '-p', project, ...args]);
  return {
    up: () => void compose('up', '-d', '--no-build'),
    wait() {
      const id = compose('ps', '-q', 'demo').trim().split('\n').at(-1) ?? '';
      const code = Number(run('docker', ['wait', id]).trim());
      return { code, log: run('docker', ['logs', '--timestamps', id]) };
    },
    down: () => void compose('down', '--volumes', '--timeout', '1'),
  };
}
