import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { withDeadline } from '@parley/runtime';
import { findNatsServer } from './find-nats-server.js';
import { isOlder } from './nats-version.js';

/** How a nats-server for tests is set up. */
export interface TestNatsServerOptions {
  /** 0, the default, takes a free port, which later restarts keep. */
  port?: number;
  /** JetStream's folder, which then outlives the server; a temporary one unless given. */
  storeDir?: string;
  /** Largest payload of one message, in bytes; 1 MiB unless given. */
  maxPayloadBytes?: number;
  /** `false` runs without JetStream. */
  jetstream?: boolean;
  /** Asks for this login. */
  login?: { user: string; password: string };
  /** Further lines of its configuration. */
  config?: string;
}

/** A real nats-server, for tests. */
export interface TestNatsServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** SIGKILL if it still runs, then a new process on the same port and store. */
  restart(): Promise<void>;
  /** SIGSTOP: it keeps its connections and answers nothing. */
  freeze(): void;
  /** SIGCONT. */
  thaw(): void;
}

/**
 * Starts nats-server on 127.0.0.1 with JetStream on disk, every write synced where the version can. Disposal kills
 * it and removes its temporary folder.
 *
 * @throws ParleyError NATS_NOT_FOUND; DEADLINE_EXCEEDED when it is not ready within 10 s
 */
export async function startNatsServer(options: TestNatsServerOptions = {}): Promise<TestNatsServer> {
  const program = await findNatsServer();
  const folder = await mkdtemp(join(tmpdir(), 'parley-nats-'));
  const storeDir = options.storeDir ?? join(folder, 'store');
  await mkdir(storeDir, { recursive: true });
  let port = options.port ?? 0;
  let child: ChildProcess | undefined;
  const start = async () => {
    const configFile = join(folder, 'nats.conf');
    await writeFile(configFile, configText({ ...options, port, storeDir }, program.version));
    child = spawn(program.path, ['-c', configFile], { stdio: ['ignore', 'ignore', 'pipe'] });
    port = await readyPort(child);
  };
  const kill = async () => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  };
  await start();
  return {
    get url() {
      return `nats://127.0.0.1:${port}`;
    },
    get port() {
      return port;
    },
    kill,
    async restart() {
      await kill();
      await start();
    },
    freeze: () => void child?.kill('SIGSTOP'),
    thaw: () => void child?.kill('SIGCONT'),
    async [Symbol.asyncDispose]() {
      await kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

type Setup = TestNatsServerOptions & { port: number; storeDir: string };

function configText(
  { port, storeDir, maxPayloadBytes, jetstream = true, login, config }: Setup,
  version: string,
) {
  const sync = isOlder(version, '2.10.0') ? '' : ', sync_interval: always';
  return [
    `listen: "127.0.0.1:${port === 0 ? -1 : port}"`,
    `max_payload: ${maxPayloadBytes ?? 1024 * 1024}`,
    jetstream ? `jetstream { store_dir: ${JSON.stringify(storeDir)}${sync} }` : '',
    login ? `authorization { user: ${login.user}, password: ${login.password} }` : '',
    config ?? '',
  ].join('\n');
}

/** The port it listens on, once it says that it is ready. */
async function readyPort(child: ChildProcess): Promise<number> {
  const lines: string[] = [];
  const ready = async () => {
    if (child.stderr === null) throw new Error('nats-server has no standard error');
    let port = 0;
    for await (const line of createInterface(child.stderr)) {
      lines.push(line);
      port = Number(/Listening for client connections on .*:(\d+)/.exec(line)?.[1] ?? port);
      if (line.includes('Server is ready')) return port;
    }
    throw new Error(`nats-server ended before it was ready:\n${lines.join('\n')}`);
  };
  const port = await withDeadline({ deadlineMs: 10_000, what: 'waiting for nats-server' }, ready);
  child.stderr?.resume();
  return port;
}
