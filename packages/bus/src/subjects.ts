import { ParleyError } from '@parley/runtime';

/**
 * Every name in NATS is made here and nowhere else. A subject is the identity of what it carries: each result has a
 * subject of its own, so that the stream itself can refuse a second copy.
 */

/** Names of the JetStream streams. */
export const STREAMS = {
  prompts: 'PROMPTS',
  rounds: 'ROUNDS',
  updates: 'UPDATES',
  versions: 'VERSIONS',
  events: 'EVENTS',
} as const;

/** The name of one of the streams. */
export type StreamName = (typeof STREAMS)[keyof typeof STREAMS];

/** The subjects each stream stores. */
export const STREAM_SUBJECTS: Readonly<Record<StreamName, string>> = {
  PROMPTS: 'parley.prompts.*',
  ROUNDS: 'parley.rounds.*.*.*',
  UPDATES: 'parley.updates.*.*.*',
  VERSIONS: 'parley.versions.*.*',
  EVENTS: 'parley.events.*.*.*',
};

/** Names of the key-value buckets. */
export const BUCKETS = { runs: 'parley-runs', peers: 'parley-peers', leases: 'parley-leases' } as const;

/** Name of the object store of payloads that are too large for a message and of no single peer. */
export const BLOB_STORE = 'parley-blobs';

const NAME = /^[A-Za-z0-9_-]{1,64}$/;

/**
 * Checks a name that becomes one token of a subject, a key or a consumer name.
 *
 * @throws ParleyError NAME_INVALID naming the kind, the text and the rule
 */
export function nameToken(kind: string, text: string): string {
  if (NAME.test(text)) return text;
  const shown = text.length > 80 ? `${text.slice(0, 80)}…` : text;
  const message = `The ${kind} "${shown}" is not 1 to 64 characters of A-Z a-z 0-9 _ -; choose another`;
  throw new ParleyError('NAME_INVALID', message, { details: { kind } });
}

function counter(kind: string, value: number | bigint): string {
  const number = BigInt(value);
  if (number >= 0n) return number.toString();
  throw new ParleyError('NAME_INVALID', `The ${kind} ${number} is negative`, { details: { kind } });
}

const run = (id: string) => nameToken('run id', id);
const peer = (name: string) => nameToken('peer name', name);
const round = (index: number | bigint) => counter('round', index);

/** What a peer is called where peers and services share one name space: its consumer, its store, its events. */
export const peerToken = (name: string) => nameToken('name', `peer-${peer(name)}`);

/** Name of the object store of one peer: the weights it writes, and payloads for it that are too large for a message. */
export const peerBlobStore = (name: string) => `parley-${peerToken(name)}`;

/** Who publishes events: a service by its name, a peer by {@link peerToken}. */
export type EventSource = 'coordinator' | 'pmi' | `peer-${string}`;

/** Subjects of single messages. Each `run` and `peer` is checked by {@link nameToken}. */
export const subjects = {
  /** All prompts of a run, in order: the one subject that holds many messages. */
  prompts: (runId: string) => `parley.prompts.${run(runId)}`,
  /** The round as generated: responses and aggregate. */
  generated: (runId: string, index: number | bigint) =>
    `parley.rounds.generated.${run(runId)}.${round(index)}`,
  /** The round as scored: weights a peer. */
  scored: (runId: string, index: number | bigint) => `parley.rounds.scored.${run(runId)}.${round(index)}`,
  /** What peers said to the monitor questions before a round, at the first look or at the one after rollbacks. */
  monitored: (runId: string, index: number | bigint, look: number) =>
    `parley.rounds.monitored.${run(runId)}.${round(index)}-${counter('look', look)}`,
  /** The weighted update of one peer from one round. */
  update: (peerName: string, runId: string, index: number | bigint) =>
    `parley.updates.${peer(peerName)}.${run(runId)}.${round(index)}`,
  /** A version that a peer committed. */
  version: (peerName: string, version: number | bigint) =>
    `parley.versions.${peer(peerName)}.${counter('version', version)}`,
  /** An event of a run, or of no run (`_`), by whom it comes from. Many messages a subject. */
  event: (runId: string | undefined, type: string, source: EventSource) =>
    `parley.events.${runId === undefined ? '_' : run(runId)}.${nameToken('event type', type)}.${nameToken('event source', source)}`,
} as const;

/** Subjects with wildcards, for consumers and readers. */
export const filters = {
  generated: (runId?: string) => `parley.rounds.generated.${runId === undefined ? '*' : run(runId)}.*`,
  scored: (runId?: string) => `parley.rounds.scored.${runId === undefined ? '*' : run(runId)}.*`,
  monitored: (runId?: string) => `parley.rounds.monitored.${runId === undefined ? '*' : run(runId)}.*`,
  /** Updates of one peer, of one run where given. */
  updates: (peerName: string, runId?: string) =>
    `parley.updates.${peer(peerName)}.${runId === undefined ? '*' : run(runId)}.*`,
  /** Updates of one run for every peer. */
  updatesOfRun: (runId: string) => `parley.updates.*.${run(runId)}.*`,
  versions: (peerName?: string) => `parley.versions.${peerName === undefined ? '*' : peer(peerName)}.*`,
  /** Events of one run, or of all runs and none; of one type, where given. */
  events: (runId?: string, type?: string) =>
    `parley.events.${runId === undefined ? '*' : run(runId)}.${type === undefined ? '*' : nameToken('event type', type)}.*`,
} as const;

/** The stream that stores a subject. @throws ParleyError NAME_INVALID for one that none does */
export function streamOf(subject: string): StreamName {
  const tokens = subject.split('.');
  const found = Object.entries(STREAM_SUBJECTS).find(([, filter]) => {
    const wanted = filter.split('.');
    return (
      wanted.length === tokens.length && wanted.every((token, i) => token === '*' || token === tokens[i])
    );
  });
  if (found) return found[0] as StreamName;
  throw new ParleyError('NAME_INVALID', `No stream of Parley stores ${subject}`, { details: { subject } });
}
