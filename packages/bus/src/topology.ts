import { DiscardPolicy, RetentionPolicy, StorageType } from '@nats-io/jetstream';
import type { ConsumerInfo, StreamConfig } from '@nats-io/jetstream';
import { Kvm } from '@nats-io/kv';
import { Objm } from '@nats-io/obj';
import { nanos } from '@nats-io/transport-node';
import { ParleyError, sleep } from '@parley/runtime';
import type { Identity } from '@parley/runtime';
import { JS_CODES, busError, jetStreamCode } from './bus-error.js';
import type { Bus } from './connect.js';
import { CONSUMERS, ensureConsumer, findConsumer } from './consumer.js';
import type { DurableSpec } from './consumer.js';
import { MIN_CLUSTERED_NATS_VERSION, isOlder, tooOld } from './nats-version.js';
import { BLOB_STORE, BUCKETS, STREAMS, STREAM_SUBJECTS, peerBlobStore } from './subjects.js';
import type { StreamName } from './subjects.js';

/** Limits of the streams and buckets. Structure (subjects, storage, retention) is fixed. */
export interface TopologyOptions {
  /** Copies of every stream in the cluster: 1 on one machine, 3 in production. 1 unless given. */
  replicas?: number;
  /** Age after which EVENTS forgets, in milliseconds; 30 days unless given, 0 for never. */
  eventsMaxAgeMs?: number;
  /**
   * Age after which results are forgotten, in milliseconds; 0 (never) unless given. A result that was forgotten can
   * be published again: keep this longer than any run.
   */
  resultsMaxAgeMs?: number;
  /** Most bytes of a stream; results are then refused (DISK_FULL) and the oldest events dropped. -1 (none) unless given. */
  maxBytes?: number;
  /** Time after which an unrenewed lease is free, in milliseconds; 10 000 unless given. */
  leaseTtlMs?: number;
}

/** One difference between the wanted and the found topology. */
export interface TopologyProblem {
  /** Stream or bucket: `ROUNDS`, `parley-runs`. */
  name: string;
  /** `missing`, or the setting that differs. */
  setting: string;
  found: string;
  wanted: string;
}

const DAY_MS = 86_400_000;

function streamConfigs(options: TopologyOptions): (Partial<StreamConfig> & { name: StreamName })[] {
  const { replicas = 1, eventsMaxAgeMs = 30 * DAY_MS, resultsMaxAgeMs = 0, maxBytes = -1 } = options;
  return Object.values(STREAMS).map((name) => {
    const events = name === STREAMS.events;
    return {
      name,
      subjects: [STREAM_SUBJECTS[name]],
      retention: RetentionPolicy.Limits,
      storage: StorageType.File,
      // A full stream refuses new results: dropping an old one would lose a round without a word.
      discard: events ? DiscardPolicy.Old : DiscardPolicy.New,
      num_replicas: replicas,
      max_bytes: maxBytes,
      max_age: nanos(events ? eventsMaxAgeMs : resultsMaxAgeMs),
      duplicate_window: nanos(120_000),
    };
  });
}

/** What must be there for somebody to work. */
export interface TopologyScope {
  streams: readonly StreamName[];
  /** Key-value buckets. */
  buckets: readonly string[];
  /** Object stores. */
  stores: readonly string[];
  consumers: readonly DurableSpec[];
}

/** Everything of a mesh. @param peers - names of its peers, as far as they are known */
export function wholeTopology(peers: readonly string[] = []): TopologyScope {
  return {
    streams: Object.values(STREAMS),
    buckets: Object.values(BUCKETS),
    stores: [BLOB_STORE, ...peers.map(peerBlobStore)],
    consumers: [CONSUMERS.pmi(), ...peers.map(CONSUMERS.peer)],
  };
}

/** What one client needs, and may look at. */
export function topologyOf(identity: Identity): TopologyScope {
  if (identity.role !== 'peer') return wholeTopology();
  const { name } = identity;
  return {
    streams: [],
    buckets: [BUCKETS.peers],
    stores: [peerBlobStore(name)],
    consumers: [CONSUMERS.peer(name)],
  };
}

/**
 * Makes whatever is missing of the topology. What is there is left as it is, so that an operator's limits survive a
 * restart, but for the waiting times of consumers; any number of processes may call this at once.
 *
 * @param peers - names of peers whose store and consumer are made too
 * @throws ParleyError STREAM_CONFLICT naming each setting that contradicts the wanted structure, NATS_TOO_OLD for copies
 */
export async function ensureTopology(
  bus: Bus,
  options: TopologyOptions & { peers?: readonly string[] } = {},
): Promise<void> {
  const { replicas = 1, leaseTtlMs = 10_000 } = options;
  const { version = 'unknown' } = bus.connection.info ?? {};
  if (replicas > 1 && isOlder(version, MIN_CLUSTERED_NATS_VERSION))
    throw tooOld(bus.url, version, MIN_CLUSTERED_NATS_VERSION, `for ${replicas} copies of a stream`);
  const scope = wholeTopology(options.peers);
  for (const config of streamConfigs(options)) await ensureStream(bus, config);
  const kvm = new Kvm(bus.js);
  const bucket = { replicas, allow_direct: false };
  await ensureStore(bus, BUCKETS.runs, () => kvm.create(BUCKETS.runs, { ...bucket, history: 16 }));
  await ensureStore(bus, BUCKETS.peers, () => kvm.create(BUCKETS.peers, { ...bucket, history: 1 }));
  await ensureStore(bus, BUCKETS.leases, () =>
    kvm.create(BUCKETS.leases, { ...bucket, history: 1, ttl: leaseTtlMs }),
  );
  for (const store of scope.stores)
    await ensureStore(bus, store, () => new Objm(bus.js).create(store, { replicas }));
  const conflicts = (await checkTopology(bus, scope)).filter((problem) => problem.setting !== 'missing');
  if (conflicts.length > 0) throw conflictError(bus, conflicts);
  for (const consumer of scope.consumers) await ensureConsumer(bus, consumer);
}

/** How long {@link awaitTopology} waits. */
export interface AwaitOptions {
  deadlineMs: number;
  signal?: AbortSignal;
}

/**
 * Waits until somebody else has made what a client needs: the job of a deployment, `parley topology`.
 *
 * @throws ParleyError STREAM_MISSING naming what is still missing at the deadline, STREAM_CONFLICT, or the signal's reason
 */
export async function awaitTopology(
  bus: Bus,
  identity: Identity,
  { deadlineMs, signal = new AbortController().signal }: AwaitOptions,
): Promise<void> {
  const scope = topologyOf(identity);
  const endMs = performance.now() + deadlineMs;
  for (let told = false; ; told = true) {
    const problems = await checkTopology(bus, scope);
    if (problems.length === 0) return;
    const conflicts = problems.filter((problem) => problem.setting !== 'missing');
    if (conflicts.length > 0) throw conflictError(bus, conflicts);
    const names = problems.map((problem) => problem.name).join(', ');
    if (performance.now() >= endMs) throw missingError(bus, names, deadlineMs);
    if (!told) bus.log.info({ missing: names }, 'waiting for streams and consumers to be made');
    await sleep(AWAIT_POLL_MS, signal);
  }
}

const AWAIT_POLL_MS = 1000;

async function ensureStream(bus: Bus, config: Partial<StreamConfig> & { name: string }): Promise<void> {
  try {
    await bus.jsm.streams.info(config.name);
  } catch (error) {
    if (jetStreamCode(error) !== JS_CODES.streamNotFound) throw busError(error, `looking up ${config.name}`);
    await ensureStore(bus, config.name, () => bus.jsm.streams.add(config));
  }
}

/** Creation by several processes at once: who comes second finds the name in use, which is what it wanted. */
async function ensureStore(bus: Bus, name: string, create: () => Promise<unknown>): Promise<void> {
  try {
    await create();
  } catch (error) {
    if (jetStreamCode(error) !== JS_CODES.streamNameInUse)
      throw busError(error, `creating ${name} at ${bus.url}`);
  }
}

/**
 * Compares what the server holds with what is needed, without changing anything.
 *
 * @returns everything that is missing, and every structural setting that differs
 */
export async function checkTopology(
  bus: Bus,
  scope: TopologyScope = wholeTopology(),
): Promise<TopologyProblem[]> {
  const problems: TopologyProblem[] = [];
  for (const wanted of streamConfigs({}).filter(({ name }) => scope.streams.includes(name))) {
    const found = await configOf(bus, wanted.name);
    problems.push(...(found ? differences(wanted, found) : [missing(wanted.name)]));
  }
  for (const bucket of scope.buckets)
    if (!(await configOf(bus, `KV_${bucket}`))) problems.push(missing(bucket));
  for (const store of scope.stores) if (!(await configOf(bus, `OBJ_${store}`))) problems.push(missing(store));
  for (const { stream, durable, filter } of scope.consumers) {
    const name = `${stream}/${durable}`;
    const found = await consumerOf(bus, stream, durable);
    if (!found) problems.push(missing(name));
    else if (found.config.filter_subject !== filter) {
      problems.push({ name, setting: 'filter', found: found.config.filter_subject ?? '', wanted: filter });
    }
  }
  return problems;
}

async function configOf(bus: Bus, stream: string): Promise<StreamConfig | undefined> {
  try {
    return (await bus.jsm.streams.info(stream)).config;
  } catch (error) {
    if (jetStreamCode(error) === JS_CODES.streamNotFound) return undefined;
    throw busError(error, `looking up ${stream}`);
  }
}

async function consumerOf(bus: Bus, stream: string, durable: string): Promise<ConsumerInfo | undefined> {
  try {
    return await findConsumer(bus, stream, durable);
  } catch (error) {
    if (jetStreamCode(error) === JS_CODES.streamNotFound) return undefined;
    throw busError(error, `looking up the consumer ${durable} of ${stream}`);
  }
}

const STRUCTURE = ['subjects', 'retention', 'storage', 'discard'] as const;

function differences(
  wanted: Partial<StreamConfig> & { name: string },
  found: StreamConfig,
): TopologyProblem[] {
  return STRUCTURE.map((setting) => ({
    name: wanted.name,
    setting,
    found: JSON.stringify(found[setting]),
    wanted: JSON.stringify(wanted[setting]),
  })).filter((problem) => problem.found !== problem.wanted);
}

function missing(name: string): TopologyProblem {
  return { name, setting: 'missing', found: 'nothing', wanted: 'present' };
}

function missingError(bus: Bus, names: string, deadlineMs: number): ParleyError {
  const message = `JetStream at ${bus.url} still lacks ${names} after ${deadlineMs} ms; make them with \`parley topology\``;
  return new ParleyError('STREAM_MISSING', message, { details: { missing: names } });
}

function conflictError(bus: Bus, conflicts: TopologyProblem[]): ParleyError {
  const lines = conflicts.map(
    ({ name, setting, found, wanted }) => `  ${name}: ${setting} is ${found}, but ${wanted} is needed`,
  );
  const message = `JetStream at ${bus.url} holds streams of the same name with other settings; rename or remove them:\n${lines.join('\n')}`;
  return new ParleyError('STREAM_CONFLICT', message, {
    details: { streams: conflicts.map((c) => c.name).join(',') },
  });
}
