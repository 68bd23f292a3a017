import type { UpdateRejected, VersionCommitted } from '@parley/contracts';
import { createChanges } from './changes.js';

/** How far one peer is in one run. */
export interface AppliedUpdates {
  /** Version it had before the run's first update, if it has applied one. */
  firstVersion: bigint | undefined;
  /** Updates of the run in its weights. */
  applied: number;
  /** Highest round whose update is applied or refused for good; -1 for none. */
  settledRound: number;
  /** Updates refused for good: their ids, with the reason. */
  refused: readonly string[];
}

/** The version a peer committed last. */
export interface CommittedVersion {
  version: bigint;
  weightsSha256: string;
  /** Where its weights lie. */
  weights: VersionCommitted['weights'];
}

/**
 * What the peers have made of their updates, as the stream of versions tells it. Peers apply the updates of a run in the
 * order of its rounds, so that one number says how far they are.
 */
export interface PeerProgressLog {
  committed(event: VersionCommitted): void;
  rejected(event: UpdateRejected): void;
  /** The latest version a peer committed, or `undefined` if it never did. */
  latest(peer: string): CommittedVersion | undefined;
  of(runId: string, peer: string): AppliedUpdates;
  /** Resolves once `holds` is true; asked now and after every event. @throws the signal's reason */
  until(holds: () => boolean, signal: AbortSignal): Promise<void>;
  /** Asks waiters again, because something else they look at has changed. */
  notify(): void;
}

interface Entry extends AppliedUpdates {
  refused: string[];
}

const nothing = (): Entry => ({ firstVersion: undefined, applied: 0, settledRound: -1, refused: [] });

export function createPeerProgressLog(): PeerProgressLog {
  const latest = new Map<string, CommittedVersion>();
  const runs = new Map<string, Entry>();
  const changes = createChanges();
  const entry = (runId: string, peer: string): Entry => {
    const key = `${runId}/${peer}`;
    const found = runs.get(key) ?? nothing();
    runs.set(key, found);
    return found;
  };
  return {
    committed({ peer, version, parentVersion, weights, cause }) {
      if (version > (latest.get(peer)?.version ?? -1n)) {
        latest.set(peer, { version, weightsSha256: weights?.sha256 ?? '', weights });
      }
      if (cause.case === 'update') {
        const progress = entry(cause.value.runId, peer);
        progress.firstVersion ??= parentVersion;
        progress.applied++;
        progress.settledRound = Math.max(progress.settledRound, Number(cause.value.round));
      }
      changes.notify();
    },
    rejected({ runId, peer, updateId, cause }) {
      const round = Number(updateId.split('/')[1]);
      const progress = entry(runId, peer);
      const refusal = `${updateId} (${cause?.reason ?? 'no reason given'})`;
      // The event may come twice: it is recorded before the update is taken off the stream.
      if (!progress.refused.includes(refusal)) progress.refused.push(refusal);
      if (Number.isSafeInteger(round)) progress.settledRound = Math.max(progress.settledRound, round);
      changes.notify();
    },
    latest: (peer) => latest.get(peer),
    of: (runId, peer) => runs.get(`${runId}/${peer}`) ?? nothing(),
    until: (holds, signal) => changes.until(holds, signal),
    notify: () => changes.notify(),
  };
}
