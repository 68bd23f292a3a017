import { STREAMS, filters } from '@parley/bus';
import type { BlobReader, Bus, Received } from '@parley/bus';
import {
  GuardVerdictSchema,
  PeerAvailabilitySchema,
  RoundGeneratedSchema,
  RoundScoredSchema,
  UpdateRejectedSchema,
  VersionCommittedSchema,
} from '@parley/contracts';
import type {
  GuardVerdict,
  PeerAvailability,
  RoundGenerated,
  RoundScored,
  UpdateRejected,
  VersionCommitted,
} from '@parley/contracts';
import { EVENT_TYPES, speaksFor } from '@parley/mesh';
import type { Log } from '@parley/runtime';
import { follow } from './follow.js';
import type { PeerProgressLog } from './peer-progress-log.js';

/** What happens in the mesh, as it becomes durable. */
export type MeshEvent =
  | { case: 'generated'; value: RoundGenerated }
  | { case: 'scored'; value: RoundScored }
  | { case: 'committed'; value: VersionCommitted }
  | { case: 'guard'; value: GuardVerdict }
  | { case: 'peer'; value: PeerAvailability }
  | { case: 'rejected'; value: UpdateRejected };

/** One reading of the streams for everybody in this process who wants to know. */
export interface MeshFeed {
  /** Told of every event from now on, until the returned function is called. */
  listen(listener: (event: MeshEvent) => void): () => void;
  /** Resolves when all that is durable by now has been told. */
  settled(signal: AbortSignal): Promise<void>;
}

/** What {@link followMesh} works with. */
export interface MeshFeedParts {
  bus: Bus;
  blobs: BlobReader;
  progress: PeerProgressLog;
  log: Log;
  signal: AbortSignal;
  fail: (error: unknown) => void;
}

/**
 * Follows the streams until the signal is aborted. Versions and refusals are read from the beginning, for `progress`;
 * resolves when it knows what is durable. What a peer says of another is passed over.
 */
export async function followMesh(parts: MeshFeedParts): Promise<MeshFeed> {
  const { bus, blobs, progress, log, signal, fail } = parts;
  const isHonest = ({ subject, message }: Received<{ peer: string }>): boolean => {
    const honest = speaksFor(subject, message.peer);
    if (!honest)
      log.error({ subject, peer: message.peer }, 'somebody speaks for a peer that it is not; passed over');
    return honest;
  };
  const listeners = new Set<(event: MeshEvent) => void>();
  const tell = (event: MeshEvent) => listeners.forEach((listener) => listener(event));
  const common = { blobs, signal, fail };
  const past = { ...common, from: 'start' as const };
  const news = { ...common, from: 'now' as const };
  const events = (type: string) => filters.events(undefined, type);
  const followings = await Promise.all([
    follow(
      bus,
      { ...past, stream: STREAMS.versions, schema: VersionCommittedSchema, filter: filters.versions() },
      (received) => {
        if (!isHonest(received)) return;
        progress.committed(received.message);
        tell({ case: 'committed', value: received.message });
      },
    ),
    follow(
      bus,
      { ...past, stream: STREAMS.events, schema: UpdateRejectedSchema, filter: events(EVENT_TYPES.rejected) },
      (received) => {
        if (!isHonest(received)) return;
        progress.rejected(received.message);
        tell({ case: 'rejected', value: received.message });
      },
    ),
    follow(
      bus,
      { ...news, stream: STREAMS.rounds, schema: RoundGeneratedSchema, filter: filters.generated() },
      ({ message: value }) => tell({ case: 'generated', value }),
    ),
    follow(
      bus,
      { ...news, stream: STREAMS.rounds, schema: RoundScoredSchema, filter: filters.scored() },
      ({ message: value }) => tell({ case: 'scored', value }),
    ),
    follow(
      bus,
      { ...news, stream: STREAMS.events, schema: GuardVerdictSchema, filter: events(EVENT_TYPES.guard) },
      ({ message: value }) => tell({ case: 'guard', value }),
    ),
    follow(
      bus,
      { ...news, stream: STREAMS.events, schema: PeerAvailabilitySchema, filter: events(EVENT_TYPES.peer) },
      (received) => {
        if (isHonest(received)) tell({ case: 'peer', value: received.message });
      },
    ),
  ]);
  const settled = async (waitSignal: AbortSignal) => {
    await Promise.all(followings.map((following) => following.settled(waitSignal)));
  };
  await settled(signal);
  return {
    settled,
    listen(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
