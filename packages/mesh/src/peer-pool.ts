import { PeerService } from '@parley/contracts';
import { ParleyError, createClient, createRpcMetrics } from '@parley/runtime';
import type { Client, Log, Registry, Tls } from '@parley/runtime';
import type { PeerDirectory } from './peer-directory.js';
import { createPeerHandle } from './peer-handle.js';
import type { PeerHandle } from './peer-handle.js';
import { createHealthTracker } from './peer-health.js';
import type { PeerTiming } from './peer-timing.js';

/** The peers of the mesh by name. */
export interface PeerPool extends Disposable {
  /** The handle of a name, the same one every time. The name need not be announced yet. */
  peer(name: string): PeerHandle;
  /** Closes every connection. */
  close(): void;
}

/** What a pool is made of. */
export interface PeerPoolOptions {
  directory: PeerDirectory;
  timing: PeerTiming;
  log: Log;
  /** A monotonic clock. */
  nowMs: () => number;
  /** Peers are called in plain text unless given. */
  tls?: Tls | undefined;
  /** Where calls are measured. */
  registry?: Registry;
}

export function createPeerPool(options: PeerPoolOptions): PeerPool {
  const { directory, timing, log, nowMs, tls, registry } = options;
  const metrics = createRpcMetrics(registry);
  const credentials = tls?.client();
  const handles = new Map<string, PeerHandle>();
  const clients = new Map<string, Client<typeof PeerService>>();

  /** Connections follow the announcements: a peer that moved is called at its new address from then on. */
  const client = (name: string): Client<typeof PeerService> => {
    const announced = directory.get(name);
    if (announced === undefined) {
      throw new ParleyError(
        'PEER_UNKNOWN',
        `No peer has announced itself as ${name}; start it, or check the name (known: ${known(directory)})`,
        { details: { peer: name } },
      );
    }
    if (announced.address === '') {
      const message = `Peer ${name} has never started; start it, or wait until it is given a pod`;
      throw new ParleyError('SERVICE_UNAVAILABLE', message, { details: { peer: name } });
    }
    const open = clients.get(name);
    if (open?.address === announced.address) return open;
    open?.close();
    const opened = createClient(PeerService, announced.address, {
      deadlineMs: timing.callDeadlineMs,
      label: `peer ${name}`,
      metrics,
      ...(credentials && { credentials }),
    });
    clients.set(name, opened);
    return opened;
  };
  const close = () => {
    for (const open of clients.values()) open.close();
    clients.clear();
  };
  return {
    peer(name) {
      const existing = handles.get(name);
      if (existing) return existing;
      const tracker = createHealthTracker(timing.lostAfterMs, nowMs);
      const handle = createPeerHandle({ name, timing, tracker, client: () => client(name), log });
      handles.set(name, handle);
      return handle;
    },
    close,
    [Symbol.dispose]: close,
  };
}

function known(directory: PeerDirectory): string {
  const names = directory.list().map((peer) => peer.name);
  return names.length === 0 ? 'none' : names.join(', ');
}
