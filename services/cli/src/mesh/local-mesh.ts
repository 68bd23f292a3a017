import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { findNatsServer } from '@parley/bus';
import { writeFileAtomic } from '@parley/runtime';
import { createSupervisor } from '../supervisor/supervisor.js';
import type { Supervisor } from '../supervisor/supervisor.js';
import type { ServiceStatus, SupervisorTimings } from '../supervisor/supervised-service.js';
import { freePorts } from './free-ports.js';
import { LOOPBACK, coordinatorService, natsService, peerService, pmiService } from './mesh-services.js';
import type { LocalPeer, PeerTuning } from './mesh-services.js';
import { natsConfig } from './nats-config.js';
import { claimStateFolder, removeMeshFile, stateFolder, writeMeshFile } from './state-folder.js';
import type { MeshFile, StateFolder } from './state-folder.js';

/** What a mesh on this machine consists of. */
export interface LocalMeshOptions {
  /** Folder of all its state; made if missing. */
  state: string;
  peers: readonly LocalPeer[];
  /** Without them, the peers can be asked but nothing trains them. */
  withRuns: boolean;
  tuning?: Partial<PeerTuning>;
  env: Readonly<Record<string, string | undefined>>;
  signal: AbortSignal;
  onStatus?: (status: ServiceStatus) => void;
  /** For people: what is being fetched or installed. */
  onNotice?: (text: string) => void;
  timings?: Partial<SupervisorTimings>;
}

/** A mesh that is up. Disposing of it stops every service in order. */
export interface LocalMesh extends AsyncDisposable {
  readonly state: StateFolder;
  readonly natsUrl: string;
  /** host:port; undefined without runs. */
  readonly coordinator: string | undefined;
  readonly pmi: string | undefined;
  /** host:port by name. */
  readonly peers: ReadonlyMap<string, string>;
  readonly supervisor: Supervisor;
}

/** Threads of each peer's engine: all peers compute at the same time. */
export function threadsPerPeer(peers: number, cores = availableParallelism()): number {
  return Math.max(1, Math.floor(cores / Math.max(1, peers)));
}

/**
 * Brings a mesh up on loopback: nats-server first, then coordinator, pmi and peers together, each until its health
 * says SERVING. If any fails, what was started is stopped again.
 *
 * @throws ParleyError NATS_NOT_FOUND; CONFIG_INVALID if a mesh is up in the folder; SERVICE_UNAVAILABLE naming the
 *   service that did not start, with its last log lines
 */
export async function startLocalMesh(options: LocalMeshOptions): Promise<LocalMesh> {
  const { peers, env, signal, withRuns, onStatus, onNotice, timings } = options;
  const state = stateFolder(options.state);
  const program = await findNatsServer({ env, signal, say: onNotice ?? (() => undefined) });
  const [natsPort = 0, coordinatorPort = 0, pmiPort = 0, ...peerPorts] = await freePorts(3 + peers.length);
  const natsUrl = `nats://${LOOPBACK}:${natsPort}`;
  const context = { state, natsUrl, env };
  const tuning: PeerTuning = {
    threads: threadsPerPeer(peers.length),
    train: 'full',
    device: 'cpu',
    quantization: 'none',
    ...options.tuning,
  };

  await claimStateFolder(state);
  const supervisor = createSupervisor({ ...(onStatus && { onStatus }), ...(timings && { timings }) });
  const close = async () => {
    await supervisor.stop();
    await removeMeshFile(state);
  };
  try {
    const configFile = join(state.nats, 'nats.conf');
    const config = { host: LOOPBACK, port: natsPort, storeFolder: state.nats, version: program.version };
    await writeFileAtomic(configFile, natsConfig(config));
    await supervisor.start([natsService(context, program.path, configFile, natsPort)], signal);
    await supervisor.start(
      [
        ...(withRuns ? [coordinatorService(context, coordinatorPort), pmiService(context, pmiPort)] : []),
        ...peers.map((peer, index) => peerService(context, peer, peerPorts[index] ?? 0, tuning)),
      ],
      signal,
    );
    const addresses = peers.map(({ name }, index) => [name, `${LOOPBACK}:${peerPorts[index]}`] as const);
    const mesh: MeshFile = {
      pid: process.pid,
      startTime: new Date().toISOString(),
      nats: natsUrl,
      ...(withRuns && { coordinator: `${LOOPBACK}:${coordinatorPort}`, pmi: `${LOOPBACK}:${pmiPort}` }),
      peers: Object.fromEntries(addresses),
    };
    await writeMeshFile(state, mesh);
    return {
      state,
      natsUrl,
      coordinator: mesh.coordinator,
      pmi: mesh.pmi,
      peers: new Map(addresses),
      supervisor,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
