import { DiscardPolicy, RetentionPolicy, StorageType } from '@nats-io/jetstream';
import type { StreamConfig } from '@nats-io/jetstream';
import { Kvm } from '@nats-io/kv';
import { Objm } from '@nats-io/obj';
import { nanos } from '@nats-io/transport-node';
import { ParleyError } from '@parley/runtime';
import { JS_CODES, busError, jetStreamCode } from './bus-error.js';
import type { Bus } from './connect.js';
import { BLOB_STORE, BUCKETS, STREAMS, STREAM_SUBJECTS } from './subjects.js';
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

/**
 * Creates every stream, bucket and object store that is missing. Existing ones are left as they are, so that an
 * operator's limits survive a restart; any number of processes may call this at once.
 *
 * @throws ParleyError STREAM_CONFLICT naming each setting that contradicts the wanted structure
 */
export async function ensureTopology(bus: Bus, options: TopologyOptions = {}): Promise<void> {
  for (const config of streamConfigs(options)) await ensureStream(bus, config);
  const { replicas = 1, leaseTtlMs = 10_000 } = options;
  const kvm = new Kvm(bus.js);
  const bucket = { replicas, allow_direct: false };
  await ensureStore(bus, BUCKETS.runs, () => kvm.create(BUCKETS.runs, { ...bucket, history: 16 }));
  await ensureStore(bus, BUCKETS.peers, () => kvm.create(BUCKETS.peers, { ...bucket, history: 1 }));
  await ensureStore(bus, BUCKETS.leases, () =>
    kvm.create(BUCKETS.leases, { ...bucket, history: 1, ttl: leaseTtlMs }),
  );
  await ensureStore(bus, BLOB_STORE, () => new Objm(bus.js).create(BLOB_STORE, { replicas }));
  const conflicts = (await checkTopology(bus)).filter((problem) => problem.setting !== 'missing');
  if (conflicts.length > 0) throw conflictError(bus, conflicts);
}

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
 * Compares what the server holds with what Parley needs, without changing anything.
 *
 * @returns every stream or bucket that is missing, and every structural setting that differs
 */
export async function checkTopology(bus: Bus): Promise<TopologyProblem[]> {
  const problems: TopologyProblem[] = [];
  for (const wanted of streamConfigs({})) {
    const found = await configOf(bus, wanted.name);
    problems.push(...(found ? differences(wanted, found) : [missing(wanted.name)]));
  }
  for (const bucket of Object.values(BUCKETS)) {
    if (!(await configOf(bus, `KV_${bucket}`))) problems.push(missing(bucket));
  }
  if (!(await configOf(bus, `OBJ_${BLOB_STORE}`))) problems.push(missing(BLOB_STORE));
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

function conflictError(bus: Bus, conflicts: TopologyProblem[]): ParleyError {
  const lines = conflicts.map(
    ({ name, setting, found, wanted }) => `  ${name}: ${setting} is ${found}, but ${wanted} is needed`,
  );
  const message = `JetStream at ${bus.url} holds streams of the same name with other settings; rename or remove them:\n${lines.join('\n')}`;
  return new ParleyError('STREAM_CONFLICT', message, {
    details: { streams: conflicts.map((c) => c.name).join(',') },
  });
}
