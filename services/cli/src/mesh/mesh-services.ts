import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Quantization } from '@parley/lm';
import type { ServiceSpec } from '../supervisor/supervised-service.js';
import { isNatsReady, isServing } from './probes.js';
import type { StateFolder } from './state-folder.js';

/** Everything of a local mesh answers on loopback only. */
export const LOOPBACK = '127.0.0.1';

/** A peer that runs on this machine. */
export interface LocalPeer {
  name: string;
  /** Hugging Face model folder. */
  folder: string;
}

/** What the services of a mesh have in common. */
export interface MeshServiceContext {
  state: StateFolder;
  natsUrl: string;
  env: Readonly<Record<string, string | undefined>>;
}

/** How a peer works; see the settings of `services/peer`. */
export interface PeerTuning {
  threads: number;
  /** `full`, or `lora:<rank>[:<alpha>]`. */
  train: string;
  device: string;
  quantization: Quantization;
}

/** Stopping goes from those that make work to those that hold it. */
const STOP_RANK = { coordinator: 3, pmi: 2, peer: 1, nats: 0 } as const;

/** A large checkpoint takes minutes to load from a slow disk. */
const PEER_READY_MS = 600_000;

/** nats-server by its configuration file. */
export function natsService(
  context: MeshServiceContext,
  program: string,
  configFile: string,
  port: number,
): ServiceSpec {
  return {
    name: 'nats',
    command: program,
    args: ['-c', configFile],
    env: baseEnv(context.env),
    logFile: context.state.log('nats'),
    address: `${LOOPBACK}:${port}`,
    stopRank: STOP_RANK.nats,
    isReady: () => isNatsReady(LOOPBACK, port),
  };
}

/** A peer. */
export function peerService(
  context: MeshServiceContext,
  peer: LocalPeer,
  port: number,
  tuning: PeerTuning,
): ServiceSpec {
  return nodeService(context, {
    program: 'peer',
    name: peer.name,
    port,
    stopRank: STOP_RANK.peer,
    readyDeadlineMs: PEER_READY_MS,
    settings: {
      PARLEY_PEER_NAME: peer.name,
      PARLEY_MODEL: peer.folder,
      PARLEY_STATE_DIR: context.state.peer(peer.name),
      PARLEY_THREADS: String(tuning.threads),
      PARLEY_SPINNING: 'false',
      PARLEY_TRAIN: tuning.train,
      PARLEY_DEVICE: tuning.device,
      PARLEY_QUANTIZATION: tuning.quantization,
    },
  });
}

/** The coordinator. */
export function coordinatorService(context: MeshServiceContext, port: number): ServiceSpec {
  return nodeService(context, {
    program: 'coordinator',
    name: 'coordinator',
    port,
    stopRank: STOP_RANK.coordinator,
  });
}

/** The scorer. */
export function pmiService(context: MeshServiceContext, port: number): ServiceSpec {
  return nodeService(context, { program: 'pmi', name: 'pmi', port, stopRank: STOP_RANK.pmi });
}

interface NodeServiceOptions {
  program: 'peer' | 'coordinator' | 'pmi';
  name: string;
  port: number;
  stopRank: number;
  readyDeadlineMs?: number;
  settings?: Readonly<Record<string, string>>;
}

function nodeService(context: MeshServiceContext, options: NodeServiceOptions): ServiceSpec {
  const { program, name, port, stopRank, readyDeadlineMs, settings = {} } = options;
  const address = `${LOOPBACK}:${port}`;
  return {
    name,
    command: process.execPath,
    args: ['--enable-source-maps', mainOf(program)],
    env: {
      ...baseEnv(context.env),
      PARLEY_LISTEN: address,
      PARLEY_NATS_URL: context.natsUrl,
      ...settings,
    },
    logFile: context.state.log(name),
    address,
    stopRank,
    ...(readyDeadlineMs !== undefined && { readyDeadlineMs }),
    isReady: () => isServing(address),
  };
}

/** The environment of this process without the settings of a service: only the log level is passed on. */
function baseEnv(env: MeshServiceContext['env']): Record<string, string | undefined> {
  const kept = Object.entries(env).filter(
    ([name]) => !name.startsWith('PARLEY_') || name === 'PARLEY_LOG_LEVEL',
  );
  return Object.fromEntries(kept);
}

/** The entry point of a service of this installation. */
function mainOf(program: string): string {
  const manifest = createRequire(import.meta.url).resolve(`@parley/${program}`);
  return join(dirname(manifest), 'main.js');
}
