import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectBus, ensureTopology, natsBlobs } from '@parley/bus';
import { startNatsServer } from '@parley/bus/testing';
import { startLocalMesh } from '@parley/cli';
import type { LocalMesh, LocalPeer } from '@parley/cli';
import { CoordinatorService, PeerService } from '@parley/contracts';
import { createClient } from '@parley/runtime';
import type { RunningMesh } from './running-mesh.js';
import { until } from './until.js';

/** How a mesh for tests is set up. */
export interface ProcessMeshOptions {
  peers: readonly LocalPeer[];
  /** Milliseconds after which a coordinator's lease is free again; short, so that a kill costs little. */
  leaseTtlMs?: number;
  /** Pause before a killed service is started again. */
  restartAfterMs?: number;
}

/** nats-server, coordinator, pmi and peers, each a process of its own, as `parley up` runs them. */
export interface ProcessMesh extends RunningMesh {
  /** Everything it keeps on disk. Gone after disposal. */
  readonly folder: string;
  readonly local: LocalMesh;
  /** SIGKILL; the supervisor starts it again on the same port and state. @returns false if it was not running */
  kill(service: string): boolean;
}

const CALL_DEADLINE_MS = 10_000;
const LOG_LINES = 25;
const LOG_COLUMNS = 300;

/**
 * Starts a mesh in a temporary folder: the services' own programs under the command line's own supervisor, which
 * leaves no process behind even if this one is killed.
 */
export async function startProcessMesh(options: ProcessMeshOptions): Promise<ProcessMesh> {
  const { peers, leaseTtlMs = 1500, restartAfterMs = 100 } = options;
  const folder = await mkdtemp(join(tmpdir(), 'parley-mesh-'));
  await prepareStreams(join(folder, 'nats'), leaseTtlMs);
  const local = await startLocalMesh({
    state: folder,
    peers,
    withRuns: true,
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], TMPDIR: process.env['TMPDIR'] },
    signal: AbortSignal.timeout(60_000),
    timings: { pollMs: 50, restartBaseMs: restartAfterMs, restartMaxMs: restartAfterMs, graceMs: 5000 },
  });
  const bus = await connectBus({ servers: local.natsUrl, name: 'test' });
  const coordinator = createClient(CoordinatorService, local.coordinator ?? '', {
    deadlineMs: CALL_DEADLINE_MS,
  });
  const clients = new Map(
    [...local.peers].map(([name, address]) => [
      name,
      createClient(PeerService, address, { deadlineMs: CALL_DEADLINE_MS, label: `peer ${name}` }),
    ]),
  );
  const { supervisor } = local;
  return {
    folder,
    local,
    services: supervisor.statuses().map(({ name }) => name),
    peers: [...local.peers.keys()],
    bus,
    blobs: natsBlobs(bus),
    coordinator,
    peer(name) {
      const client = clients.get(name);
      if (client === undefined) throw new Error(`no peer ${name} in this mesh`);
      return client;
    },
    kill(name) {
      const service = supervisor.service(name);
      const { condition } = service.status();
      service.crash();
      return condition === 'ready' || condition === 'starting';
    },
    untilUp: () =>
      until('everything serves', async () =>
        supervisor.statuses().every(({ condition }) => condition === 'ready'),
      ),
    async logs() {
      const tails = supervisor.statuses().map(async ({ name, condition, note, logFile }) => {
        const lines = (await readFile(logFile, 'utf8')).trimEnd().split('\n');
        const last = lines.slice(-LOG_LINES).map((line) => line.slice(0, LOG_COLUMNS));
        return [`--- ${name}: ${condition} ${note}`, ...last].join('\n');
      });
      return (await Promise.all(tails)).join('\n');
    },
    async [Symbol.asyncDispose]() {
      coordinator.close();
      for (const client of clients.values()) client.close();
      await bus.close();
      await local[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** The services leave streams and buckets that exist as they are: a lease that expires soon is set up beforehand. */
async function prepareStreams(storeDir: string, leaseTtlMs: number): Promise<void> {
  await using server = await startNatsServer({ storeDir });
  await using bus = await connectBus({ servers: server.url, name: 'test-setup' });
  await ensureTopology(bus, { leaseTtlMs });
}
