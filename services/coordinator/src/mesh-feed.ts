import { STREAMS, filters } from '@parley/bus';
import type { BlobReader, Bus } from '@parley/bus';
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
import { EVENT_TYPES } from '@parley/mesh';
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

/**
 * Follows the streams until the signal is aborted. Versions and refusals are read from the beginning, for `progress`;
 * resolves when it knows what is durable.
 */
export async function followMesh(
  bus: Bus,
  blobs: BlobReader,
  progress: PeerProgressLog,
  signal: AbortSignal,
  fail: (error: unknown) => void,
): Promise<MeshFeed> {
  const listeners = new Set<(event: MeshEvent) => void>();
  const tell = (event: MeshEvent) => listeners.forEach((listener) => listener(event));
  const common = { blobs, signal, fail };
  const past = { ...common, from: 'start' as const };
  const news = { ...common, from: 'now' as const };
  const events = (type: string) => `parley.events.*.${type}`;
  const followings = await Promise.all([
    follow(
      bus,
      { ...past, stream: STREAMS.versions, schema: VersionCommittedSchema, filter: filters.versions() },
      ({ message: value }) => {
        progress.committed(value);
        tell({ case: 'committed', value });
      },
    ),
    follow(
      bus,
      { ...past, stream: STREAMS.events, schema: UpdateRejectedSchema, filter: events(EVENT_TYPES.rejected) },
      ({ message: value }) => {
        progress.rejected(value);
        tell({ case: 'rejected', value });
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
      ({ message: value }) => tell({ case: 'peer', value }),
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
