import type { ItemFailure } from '@parley/contracts';
import { ParleyError } from '@parley/runtime';
import type { PeerHandle } from './peer-handle.js';

/**
 * The peers of one round. Without a quorum all of them must answer, and the crew waits for whoever is lost. With a
 * quorum the round goes on without a peer that is lost, as long as enough are left; such a peer stays out for the rest
 * of the round even if it comes back.
 */
export interface RoundCrew {
  /**
   * Asks every peer for its version.
   *
   * @param committed - the version each is known to have committed
   * @throws ParleyError STATE_CORRUPT if a peer is behind that
   */
  assemble(committed: readonly bigint[]): Promise<void>;
  /** The version a peer answers with; the lowest, if it changed. Only after `assemble`, and not of a missing peer. */
  version(peer: number): bigint;
  /** Notes the version of an answer. */
  answeredBy(peer: number, version: bigint): void;
  /** Why a peer is missing from the round, or `undefined`. */
  missing(peer: number): ItemFailure | undefined;
  /** Does work with a peer; returns without having finished it if the peer goes missing meanwhile. */
  work(peer: number, work: (handle: PeerHandle, signal: AbortSignal) => Promise<void>): Promise<void>;
  /** Stops watching the peers. */
  dismiss(): void;
}

/**
 * @param quorum - peers that must answer; null for all
 * @param absent - by name, peers that take no part from the beginning, and why; nobody waits for them
 */
export function createRoundCrew(
  handles: readonly PeerHandle[],
  quorum: number | null,
  signal: AbortSignal,
  absent: ReadonlyMap<string, ItemFailure> = new Map(),
): RoundCrew {
  const members = handles.map((handle) => ({
    handle,
    leave: new AbortController(),
    missing: absent.get(handle.name),
    version: undefined as bigint | undefined,
  }));
  const needed = quorum ?? members.filter(({ missing }) => missing === undefined).length;

  const releaseLost = (): void => {
    for (const member of members) {
      const { health } = member.handle;
      const present = members.filter((other) => other.missing === undefined).length;
      if (health.available || member.missing !== undefined || present <= needed) continue;
      member.missing = health.cause;
      member.leave.abort(new ParleyError('PEER_LOST', health.cause.message));
    }
  };
  const unwatch = members.flatMap(({ handle, missing }) => (missing ? [] : [handle.watch(releaseLost)]));
  releaseLost();

  const work: RoundCrew['work'] = async (peer, task) => {
    const member = members[peer];
    if (member.missing !== undefined) return;
    try {
      await task(member.handle, AbortSignal.any([signal, member.leave.signal]));
    } catch (error) {
      signal.throwIfAborted();
      if (!member.leave.signal.aborted) throw error;
    }
  };
  return {
    work,
    async assemble(committed) {
      await Promise.all(
        members.map((member, peer) =>
          work(peer, async (handle, memberSignal) => {
            const { version } = await handle.describeUntilAnswered(memberSignal);
            if (version < committed[peer]) throw fellBehind(handle.name, version, committed[peer]);
            member.version = version;
          }),
        ),
      );
    },
    version: (peer) => members[peer].version!,
    answeredBy(peer, version) {
      const member = members[peer];
      if (version < member.version!) member.version = version;
    },
    missing: (peer) => members[peer].missing,
    dismiss: () => unwatch.forEach((stop) => stop()),
  };
}

/** Its next commits would collide with those it has forgotten, and the run would wait for them for ever. */
function fellBehind(peer: string, version: bigint, committed: bigint): ParleyError {
  return new ParleyError(
    'STATE_CORRUPT',
    `Peer ${peer} serves version ${version} but has committed version ${committed}: its state folder was lost or replaced; give it the folder back, or start it under another name`,
    { details: { peer, version: String(version), committed: String(committed) } },
  );
}
