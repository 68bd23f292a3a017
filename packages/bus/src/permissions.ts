import { identityName } from '@parley/runtime';
import type { Identity } from '@parley/runtime';
import { inboxPrefix } from './connect.js';
import { BLOB_STORE, BUCKETS, STREAMS, filters, peerBlobStore, peerToken } from './subjects.js';
import { topologyOf } from './topology.js';
import type { TopologyScope } from './topology.js';

/** Subjects that a client may publish to and subscribe to, as nats-server's configuration takes them. */
export interface Permissions {
  publish: string[];
  subscribe: string[];
}

const API = '$JS.API';

/** Reads whatever a stream holds, through consumers of its own. */
const read = (stream: string) => [
  `${API}.STREAM.MSG.GET.${stream}`,
  `${API}.CONSUMER.CREATE.${stream}.>`,
  `${API}.CONSUMER.MSG.NEXT.${stream}.*`,
];

const readBucket = (bucket: string) => read(`KV_${bucket}`);

/** Reads an object store; the client library does so with flow control, and removes its consumers. */
const readStore = (store: string) => [
  ...read(`OBJ_${store}`),
  `${API}.DIRECT.GET.OBJ_${store}.>`,
  `${API}.CONSUMER.DELETE.OBJ_${store}.*`,
  `$JS.FC.OBJ_${store}.>`,
];

/** Writes an object store and reads it. */
const useStore = (store: string) => [
  `$O.${store}.C.*`,
  `$O.${store}.M.*`,
  `${API}.STREAM.PURGE.OBJ_${store}`,
  ...readStore(store),
];

/** Takes part in the work of a durable consumer. */
const work = (stream: string, durable: string) => [
  `${API}.CONSUMER.MSG.NEXT.${stream}.${durable}`,
  `$JS.ACK.${stream}.${durable}.>`,
];

/**
 * What a role needs of NATS, and nothing beside. A peer reads its own updates and writes its own versions, events, weights
 * and announcement. Coordinator and pmi read what they work on and write their own results. Only the role `topology`
 * makes, changes or removes streams. SECURITY.md says what each could do if it were taken over.
 *
 * @param peers - names of the peers of the mesh, into whose stores pmi puts what is too large for a message
 */
export function permissionsOf(identity: Identity, peers: readonly string[]): Permissions {
  return {
    publish: [`${API}.INFO`, ...lookUp(topologyOf(identity)), ...rights(identity, peers)],
    subscribe: [`${inboxPrefix(identity)}.>`],
  };
}

/** A client of a mesh as nats-server knows it. */
export interface NatsUser {
  /** The DNS name by which its certificate states who it is. */
  user: string;
  permissions: Permissions;
}

/** Every client of a mesh of these peers. */
export function natsUsers(peers: readonly string[]): NatsUser[] {
  const identities: Identity[] = [
    ...(['topology', 'operator', 'coordinator', 'pmi'] as const).map((role) => ({ role })),
    ...peers.map((name) => ({ role: 'peer', name }) as const),
  ];
  return identities.map((identity) => ({
    user: identityName(identity),
    permissions: permissionsOf(identity, peers),
  }));
}

/** Looks at the streams and consumers that it depends on. */
function lookUp({ streams, buckets, stores, consumers }: TopologyScope): string[] {
  const names = [...streams, ...buckets.map((name) => `KV_${name}`), ...stores.map((name) => `OBJ_${name}`)];
  return [
    ...names.map((name) => `${API}.STREAM.INFO.${name}`),
    ...consumers.map(({ stream, durable }) => `${API}.CONSUMER.INFO.${stream}.${durable}`),
  ];
}

function rights(identity: Identity, peers: readonly string[]): string[] {
  const { prompts, rounds, updates, versions, events } = STREAMS;
  switch (identity.role) {
    case 'peer':
      return peerRights(identity.name);
    case 'coordinator':
      return [
        'parley.prompts.*',
        'parley.rounds.generated.*.*',
        'parley.rounds.monitored.*.*',
        'parley.events.*.*.coordinator',
        `$KV.${BUCKETS.runs}.>`,
        `$KV.${BUCKETS.leases}.>`,
        ...[prompts, rounds, versions, events].flatMap(read),
        ...Object.values(BUCKETS).flatMap(readBucket),
        ...useStore(BLOB_STORE),
      ];
    case 'pmi':
      return [
        'parley.rounds.scored.*.*',
        'parley.updates.*.*.*',
        'parley.events.*.*.pmi',
        `$KV.${BUCKETS.runs}.>`,
        ...work(rounds, 'pmi'),
        ...[rounds, updates, events].flatMap(read),
        ...[BUCKETS.runs, BUCKETS.peers].flatMap(readBucket),
        ...[BLOB_STORE, ...peers.map(peerBlobStore)].flatMap(useStore),
      ];
    case 'operator':
      return [`${API}.STREAM.INFO.*`, `${API}.CONSUMER.INFO.*.*`, ...read('*'), '$JS.FC.>'];
    case 'topology':
      return [`${API}.>`, `$KV.${BUCKETS.peers}.*`];
  }
}

function peerRights(name: string): string[] {
  const [token, versions] = [peerToken(name), filters.versions(name)];
  return [
    ...work(STREAMS.updates, token),
    versions,
    // A consumer's filter is in the subject of the request that makes it: its own versions, and no others.
    `${API}.CONSUMER.CREATE.${STREAMS.versions}.*.${versions}`,
    // Names of consumers cannot be guessed.
    `${API}.CONSUMER.MSG.NEXT.${STREAMS.versions}.*`,
    `parley.events.*.rejected.${token}`,
    `parley.events.*.peer.${token}`,
    `$KV.${BUCKETS.peers}.${name}`,
    ...useStore(peerBlobStore(name)),
  ];
}
