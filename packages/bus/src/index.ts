export { BUS_FIELDS, busOptions, prepareTopology } from './bus-config.js';
export type { BusConfig } from './bus-config.js';
export { anyBlobs, fileBlobs, natsBlobs } from './blobs.js';
export type { BlobReader, BlobRef, BlobStore, NatsBlobsOptions } from './blobs.js';
export { BUS_METRICS } from './bus-metrics.js';
export type { Received } from './cloud-event.js';
export { connectBus, inboxPrefix } from './connect.js';
export type { Bus, BusAuth, BusOptions } from './connect.js';
export { consume } from './consume.js';
export type { ConsumeOptions, Consumption, Delivery, Handler, Poison } from './consume.js';
export { CONSUMERS, ensureConsumer } from './consumer.js';
export type { DurableSpec } from './consumer.js';
export { openKv } from './kv.js';
export type { KvChange, KvRecord, KvTable } from './kv.js';
export { acquireLease } from './lease.js';
export type { Lease, LeaseOptions } from './lease.js';
export { MIN_CLUSTERED_NATS_VERSION, MIN_NATS_VERSION, isOlder } from './nats-version.js';
export { createPublisher } from './publish.js';
export type { PublishOptions, Published, Publisher, PublisherOptions } from './publish.js';
export { countMessages, lastSequence, readFrom, readLast, readLastPermitted } from './read.js';
export type { ReadOptions } from './read.js';
export {
  BLOB_STORE,
  BUCKETS,
  STREAMS,
  STREAM_SUBJECTS,
  filters,
  nameToken,
  peerBlobStore,
  peerToken,
  subjects,
} from './subjects.js';
export type { EventSource, StreamName } from './subjects.js';
export { awaitTopology, checkTopology, ensureTopology, topologyOf, wholeTopology } from './topology.js';
export type { TopologyOptions, TopologyProblem, TopologyScope } from './topology.js';
export { natsUsers, permissionsOf } from './permissions.js';
export type { NatsUser, Permissions } from './permissions.js';
export { findNatsServer } from './find-nats-server.js';
export type { FindNatsServerOptions, NatsServerProgram } from './find-nats-server.js';
