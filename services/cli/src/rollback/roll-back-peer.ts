import { STREAMS, filters, natsBlobs, readFrom } from '@parley/bus';
import type { Bus } from '@parley/bus';
import { VersionCommittedSchema } from '@parley/contracts';
import type { PeerService, VersionCommitted } from '@parley/contracts';
import { lastGoodVersion } from '@parley/mesh';
import { ParleyError, isParleyError } from '@parley/runtime';
import type { Client } from '@parley/runtime';

/** A rollback that is asked for. */
export interface RollbackRequest {
  peer: string;
  client: Pick<Client<typeof PeerService>, 'describe' | 'restore'>;
  /** The version whose weights are to come back; the last that a monitor pool found good unless given. */
  version: bigint | undefined;
  /** Idempotency key. */
  requestId: string;
  /** For the record. */
  reason: string;
  /** Where versions and measurements are read; undefined where NATS cannot be reached. */
  bus: Bus | undefined;
  /** Also while the peer trains. */
  force: boolean;
  signal: AbortSignal;
}

/** One version of a peer. */
export interface PeerVersion {
  version: bigint;
  weightsSha256: string;
}

/** What a rollback did. */
export interface Rollback {
  peer: string;
  from: PeerVersion;
  to: PeerVersion;
  /** Whose weights `to` has. */
  restored: bigint;
}

const RESTORE_DEADLINE_MS = 600_000;

/**
 * Gives a peer the weights of an earlier version, as a new version. A version that the peer no longer keeps is taken from
 * where its weights were stored when it was published.
 *
 * @throws ParleyError VERSION_NOT_KEPT naming the versions that are known, PEER_BUSY while the peer trains, CONFIG_INVALID
 *   if NATS is needed and not named, or what the peer says
 */
export async function rollBackPeer(request: RollbackRequest): Promise<Rollback> {
  const { peer, client, requestId, reason, force, signal } = request;
  const before = await client.describe({}, { signal });
  if (before.activity === 'training' && !force) {
    throw new ParleyError(
      'PEER_BUSY',
      `Peer ${peer} trains at this moment; pause its run or wait, or say --force: the restore follows the update`,
      { details: { peer } },
    );
  }
  const restored = request.version ?? (await findGood(request));
  const restore = async (source: Parameters<typeof client.restore>[0]['source']) =>
    client.restore({ requestId, reason, source }, { signal, deadlineMs: RESTORE_DEADLINE_MS });
  const { committed } = await restore({ case: 'version', value: restored }).catch(async (error: unknown) => {
    if (!isParleyError(error, 'VERSION_NOT_KEPT') || request.bus === undefined) throw error;
    const versions = await published(request.bus, peer);
    const weights = versions.find(({ version }) => version === restored)?.weights;
    if (weights === undefined) throw unknownVersion(peer, restored, versions);
    return restore({ case: 'weights', value: weights });
  });
  return {
    peer,
    from: { version: before.version, weightsSha256: before.weightsSha256 },
    to: { version: committed?.version ?? 0n, weightsSha256: committed?.weights?.sha256 ?? '' },
    restored,
  };
}

async function findGood({ peer, bus }: RollbackRequest): Promise<bigint> {
  if (bus === undefined) {
    throw new ParleyError(
      'CONFIG_INVALID',
      '--last-good is read from NATS, and none is named: set PARLEY_NATS_URL, or name the version with --to',
    );
  }
  const good = await lastGoodVersion(bus, natsBlobs(bus), peer);
  if (good !== undefined) return good;
  throw new ParleyError(
    'VERSION_NOT_KEPT',
    `No monitor pool found any version of peer ${peer} good (monitor.questions in a recipe); name the version with --to`,
    { details: { peer } },
  );
}

/** Every version that a peer has published. */
async function published(bus: Bus, peer: string): Promise<VersionCommitted[]> {
  const found: VersionCommitted[] = [];
  const options = { stream: STREAMS.versions, schema: VersionCommittedSchema, blobs: natsBlobs(bus) };
  for await (const { message } of readFrom(bus, { ...options, filter: filters.versions(peer) }))
    found.push(message);
  return found;
}

function unknownVersion(peer: string, wanted: bigint, versions: readonly VersionCommitted[]): ParleyError {
  const known = [0n, ...versions.map(({ version }) => version)];
  return new ParleyError(
    'VERSION_NOT_KEPT',
    `Peer ${peer} has no version ${wanted}; there are ${known[0]} to ${known.at(-1)}`,
    { details: { peer, version: String(wanted) } },
  );
}
