import { busOptions, connectBus, createPublisher, natsBlobs, prepareTopology } from '@parley/bus';
import type { BlobStore, Bus, BusConfig, KvTable, Publisher, TopologyOptions } from '@parley/bus';
import type { RunSchema } from '@parley/contracts';
import { observeExpiry, openTls } from '@parley/runtime';
import type { CleanupStack, Log, Registry, Tls, TlsConfig } from '@parley/runtime';
import { followPeerDirectory } from './peer-directory.js';
import type { PeerDirectory } from './peer-directory.js';
import { createPeerPool } from './peer-pool.js';
import type { PeerPool } from './peer-pool.js';
import type { PeerTiming } from './peer-timing.js';
import { createRunEvents } from './run-events.js';
import type { RunEvents } from './run-events.js';
import { openRuns } from './run-table.js';

/** Who joins, and with what. */
export interface JoinOptions {
  /** Name of the service: its events come from `parley/<service>`. */
  service: 'coordinator' | 'pmi';
  config: BusConfig & PeerTiming & TlsConfig;
  topology?: TopologyOptions;
  log: Log;
  registry: Registry;
  /** Gives up the start. */
  signal: AbortSignal;
  /** Told of a failure in the background, after which the service cannot go on. */
  fail: (error: unknown) => void;
  /** Monotonic. */
  nowMs: () => number;
  /** Since the epoch. */
  wallClockMs: () => number;
}

/** What a service that works with peers and runs shares with others of its kind. */
export interface MeshAccess {
  bus: Bus;
  blobs: BlobStore;
  publisher: Publisher;
  /** `undefined` where the mesh speaks plain text. */
  tls: Tls | undefined;
  /** Who has announced itself. */
  directory: PeerDirectory;
  /** Clients of peers. */
  pool: PeerPool;
  runs: KvTable<typeof RunSchema>;
  events: RunEvents;
  /** Aborted to stop whatever follows the mesh in the background; closing the stack does it too. */
  stopping: AbortController;
}

/**
 * Connects to the mesh; what is opened is released with `cleanup`.
 *
 * @throws ParleyError NATS_*, STREAM_CONFLICT, BUS_UNAVAILABLE, CONFIG_INVALID for logins that contradict each other
 */
export async function joinMesh(options: JoinOptions, cleanup: CleanupStack): Promise<MeshAccess> {
  const { service, config, topology, log, registry, signal, fail, nowMs, wallClockMs } = options;
  const identity = { role: service } as const;
  const stopping = new AbortController();
  const tls = openTls(config, { log });
  if (tls) observeExpiry(tls, registry, log);
  const bus = cleanup.use(await connectBus(busOptions(config, identity, { log, registry })));
  cleanup.defer(() => stopping.abort());
  await prepareTopology(bus, identity, config, { ...topology, signal });
  const blobs = natsBlobs(bus);
  const publisher = createPublisher(bus, { source: `parley/${service}`, blobs });
  const directory = await followPeerDirectory(bus, stopping.signal, fail);
  const pool = cleanup.use(createPeerPool({ directory, timing: config, log, nowMs, tls, registry }));
  const events = createRunEvents(publisher, service, wallClockMs);
  return { bus, blobs, publisher, tls, directory, pool, runs: await openRuns(bus), events, stopping };
}
