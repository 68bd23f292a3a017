import { deepEqual, notEqual, ok } from 'node:assert/strict';
import { toJsonString } from '@bufbuild/protobuf';
import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import { STREAMS, filters, readFrom } from '@parley/bus';
import {
  RoundGeneratedSchema,
  RoundScoredSchema,
  UpdateRejectedSchema,
  VersionCommittedSchema,
  WeightedUpdateSchema,
} from '@parley/contracts';
import type { UpdateRejected, VersionCommitted } from '@parley/contracts';
import { retry, sha256 } from '@parley/runtime';
import type { RunningMesh } from './running-mesh.js';

/** What a run left behind, without the times: the same for two runs that did the same. */
export interface RunOutcome {
  /** Digests of what each subject holds: generated rounds, scored rounds, updates. One each, if all is well. */
  results: Record<string, string[]>;
  /** By peer. */
  peers: Record<string, PeerOutcome>;
}

/** What became of one peer. */
export interface PeerOutcome {
  /** In stream order. */
  versions: { version: number; updateId: string; weightsSha256: string; steps: number }[];
  /** As the peer says itself. */
  version: number;
  updatesApplied: number;
  weightsSha256: string;
}

/** Longer than the pause between two attempts of a client to connect. */
const RECONNECTION = { attempts: 8, baseMs: 500, maxMs: 2000 };

/** What an outcome is read from. */
export type Readable = Pick<RunningMesh, 'bus' | 'blobs' | 'peers'> & {
  peer(name: string): Pick<ReturnType<RunningMesh['peer']>, 'describe'>;
};

/** Reads all of a run from the streams and the peers. */
export async function readOutcome(mesh: Readable, runId: string): Promise<RunOutcome> {
  const results = {
    ...(await digests(mesh, STREAMS.rounds, RoundGeneratedSchema, filters.generated(runId))),
    ...(await digests(mesh, STREAMS.rounds, RoundScoredSchema, filters.scored(runId))),
    ...(await digests(mesh, STREAMS.updates, WeightedUpdateSchema, filters.updatesOfRun(runId))),
  };
  const peers: Record<string, PeerOutcome> = {};
  for (const name of mesh.peers) {
    const versions = await readVersions(mesh, name);
    // A connection to a peer that has just come back may still be waiting for its next attempt.
    const { version, updatesApplied, weightsSha256 } = await retry(RECONNECTION, () =>
      mesh.peer(name).describe({}),
    );
    peers[name] = {
      versions: versions.map((committed) => ({
        version: Number(committed.version),
        updateId: committed.cause.case === 'update' ? committed.cause.value.updateId : '',
        weightsSha256: committed.weights?.sha256 ?? '',
        steps: committed.report?.steps ?? 0,
      })),
      version: Number(version),
      updatesApplied: Number(updatesApplied),
      weightsSha256,
    };
  }
  return { results, peers };
}

/** All versions that a peer published, in stream order. */
export async function readVersions(mesh: Readable, peer: string): Promise<VersionCommitted[]> {
  const found = await readAll(mesh, STREAMS.versions, VersionCommittedSchema, filters.versions(peer));
  return found.map(({ message }) => message);
}

/** The updates of a run that were refused for good. */
export async function readRejections(mesh: RunningMesh, runId: string): Promise<UpdateRejected[]> {
  const filter = filters.events(runId, 'rejected');
  const found = await readAll(mesh, STREAMS.events, UpdateRejectedSchema, filter);
  return found.map(({ message }) => message);
}

/** All messages of a stream that match, in stream order. */
export async function readAll<S extends DescMessage>(
  mesh: Pick<Readable, 'bus' | 'blobs'>,
  stream: string,
  schema: S,
  filter: string,
): Promise<{ subject: string; message: MessageShape<S> }[]> {
  const found = [];
  for await (const { subject, message } of readFrom(mesh.bus, {
    stream,
    schema,
    blobs: mesh.blobs,
    filter,
  })) {
    found.push({ subject, message });
  }
  return found;
}

/** Digests by subject. */
async function digests(
  mesh: Readable,
  stream: string,
  schema: DescMessage,
  filter: string,
): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {};
  for (const { subject, message } of await readAll(mesh, stream, schema, filter)) {
    (found[subject] ??= []).push(sha256(withoutTimes(toJsonString(schema, message))));
  }
  return found;
}

/** Times differ between two runs that do the same, and maps have no order. */
function withoutTimes(json: string): string {
  return JSON.stringify(JSON.parse(json), (key, value: unknown) => {
    if (key === 'seconds' || key === 'completeTime') return undefined;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

/**
 * Requires every round and update of a run once, and of every peer contiguous versions from the first, of which those of the run
 * changed its weights.
 */
export function requireComplete({ results, peers }: RunOutcome, runId: string, count: number): void {
  const rounds = Array.from({ length: count }, (_, round) => round);
  const wanted = rounds.flatMap((round) => [
    `parley.rounds.generated.${runId}.${round}`,
    `parley.rounds.scored.${runId}.${round}`,
    ...Object.keys(peers).map((peer) => `parley.updates.${peer}.${runId}.${round}`),
  ]);
  deepEqual(Object.keys(results).sort(), wanted.sort());
  ok(Object.values(results).every((copies) => copies.length === 1));
  for (const [name, { versions, ...serves }] of Object.entries(peers)) {
    const numbers = versions.map(({ version }) => version);
    deepEqual(
      numbers,
      Array.from(numbers, (_, index) => index + 1),
    );
    const made = versions.filter(({ updateId }) => updateId.startsWith(`${runId}/`));
    deepEqual(
      made.map(({ updateId }) => updateId),
      rounds.map((round) => `${runId}/${round}/${name}`),
    );
    deepEqual(serves, {
      version: versions.length,
      updatesApplied: versions.length,
      weightsSha256: versions.at(-1)?.weightsSha256,
    });
    ok(
      made.every(({ steps }) => steps > 0),
      'every update trains',
    );
    notEqual(made[0]?.weightsSha256, made[1]?.weightsSha256);
  }
}

/** How two runs that should be equal differ, in counts. */
export interface Audit {
  /** Results and versions of the reference that are missing. */
  lost: number;
  /** Results and versions that are there more often than in the reference. */
  doubled: number;
  /** Results and versions that are there once, but with other content. */
  changed: number;
  /** What differs, by name. */
  differences: string[];
}

/** Compares a run with an undisturbed one. */
export function audit(reference: RunOutcome, outcome: RunOutcome): Audit {
  const [wanted, found] = [contents(reference), contents(outcome)];
  const total: Audit = { lost: 0, doubled: 0, changed: 0, differences: [] };
  for (const subject of new Set([...wanted.keys(), ...found.keys()])) {
    const [once, now] = [wanted.get(subject) ?? [], found.get(subject) ?? []];
    total.lost += Math.max(0, once.length - now.length);
    total.doubled += Math.max(0, now.length - once.length);
    total.changed += now.length === once.length && now.join() !== once.join() ? 1 : 0;
    if (now.join() !== once.join()) total.differences.push(subject);
  }
  return total;
}

/** Everything countable: results by subject, versions by peer and update, and what each peer serves in the end. */
function contents({ results, peers }: RunOutcome): Map<string, string[]> {
  const found = new Map(Object.entries(results));
  for (const [name, { versions, ...serves }] of Object.entries(peers)) {
    for (const version of versions) {
      const key = `${name} applies ${version.updateId}`;
      found.set(key, [...(found.get(key) ?? []), JSON.stringify(version)]);
    }
    found.set(`${name} serves`, [JSON.stringify(serves)]);
  }
  return found;
}
