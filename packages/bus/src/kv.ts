import { create, equals, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { DescMessage, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { Kvm } from '@nats-io/kv';
import type { KV, KvEntry } from '@nats-io/kv';
import { ParleyError, isParleyError } from '@parley/runtime';
import type { Bus } from './connect.js';
import { persist } from './persist.js';
import { readRaw } from './read.js';

/** A value of a bucket and its revision. */
export interface KvRecord<T> {
  key: string;
  value: T;
  /** Grows with every write to the bucket; names this write. */
  revision: number;
}

/** A change in a bucket: `value` is `undefined` where the key was deleted. */
export type KvChange<T> = Omit<KvRecord<T>, 'value'> & { value: T | undefined };

/** A key-value bucket of one protobuf message type. Keys are tokens separated by dots. */
export interface KvTable<S extends DescMessage> {
  get(key: string): Promise<KvRecord<MessageShape<S>> | undefined>;
  /** Writes a key that must not exist. @throws ParleyError REVISION_CONFLICT when it does @returns the revision */
  create(key: string, value: MessageInitShape<S>): Promise<number>;
  /** Writes a key that must still be at `revision`. @throws ParleyError REVISION_CONFLICT @returns the revision */
  update(key: string, value: MessageInitShape<S>, revision: number): Promise<number>;
  /** Writes a key whatever it holds. For keys of a single writer. @returns the revision */
  put(key: string, value: MessageInitShape<S>): Promise<number>;
  delete(key: string): Promise<void>;
  /** Every key that matches (`>` for all), with its value, oldest write first. */
  list(filter?: string): Promise<KvRecord<MessageShape<S>>[]>;
  /** The present value of every key that matches, then every change, until the signal is aborted. */
  watch(filter: string, signal: AbortSignal): AsyncGenerator<KvChange<MessageShape<S>>>;
}

/** How {@link openKv} reads. */
export interface KvOptions {
  /** Told of a value that cannot be decoded, which `list` and `watch` then pass over; without it, its error ends them. */
  onInvalid?: (error: ParleyError) => void;
}

/** Opens a bucket that {@link ensureTopology} made. */
export async function openKv<S extends DescMessage>(
  bus: Bus,
  bucket: string,
  schema: S,
  { onInvalid }: KvOptions = {},
): Promise<KvTable<S>> {
  const deadlineMs = 3 * bus.requestTimeoutMs;
  const kv = await persist({ what: `opening bucket ${bucket}`, deadlineMs }, () => open(bus, bucket));
  const run = <T>(what: string, work: () => Promise<T>) =>
    persist({ what: `${what} in ${bucket}`, deadlineMs }, work);
  const get = async (key: string) => {
    const entry = await run(`reading ${key}`, () => kv.get(key));
    return entry === null || entry.operation !== 'PUT' ? undefined : record(schema, bucket, entry);
  };
  /** A conflict after an unconfirmed attempt may be with that very attempt: then the write has succeeded. */
  const compareAndSet = async (
    key: string,
    value: MessageShape<S>,
    write: () => Promise<number>,
    after: number,
  ) => {
    let attempts = 0;
    try {
      return await run(`writing ${key}`, () => {
        attempts++;
        return write();
      });
    } catch (error) {
      if (!isParleyError(error, 'REVISION_CONFLICT')) throw error;
      const found = await get(key);
      if (attempts > 1 && found && found.revision > after && equals(schema, found.value, value))
        return found.revision;
      throw conflict(bucket, key, after, found?.revision, error);
    }
  };
  return {
    get,
    async create(key, value) {
      const message = create(schema, value);
      return compareAndSet(key, message, () => kv.create(key, toBinary(schema, message)), 0);
    },
    async update(key, value, revision) {
      const message = create(schema, value);
      return compareAndSet(key, message, () => kv.update(key, toBinary(schema, message), revision), revision);
    },
    put: (key, value) => run(`writing ${key}`, () => kv.put(key, toBinary(schema, create(schema, value)))),
    delete: (key) => run(`deleting ${key}`, () => kv.delete(key)),
    async list(filter = '>') {
      const records: KvRecord<MessageShape<S>>[] = [];
      for await (const change of changes(bus, bucket, schema, { filter, onInvalid })) {
        if (change.value !== undefined) records.push({ ...change, value: change.value });
      }
      return records;
    },
    watch: (filter, signal) => changes(bus, bucket, schema, { filter, onInvalid, signal }),
  };
}

async function open(bus: Bus, bucket: string): Promise<KV> {
  const kv = await new Kvm(bus.js).open(bucket, { allow_direct: false });
  await kv.status();
  return kv;
}

/** A bucket is the stream `KV_<bucket>` with a subject a key (NATS ADR-8); the last message of each is its value. */
async function* changes<S extends DescMessage>(
  bus: Bus,
  bucket: string,
  schema: S,
  { filter, onInvalid, signal }: { filter: string; onInvalid?: KvOptions['onInvalid']; signal?: AbortSignal },
): AsyncGenerator<KvChange<MessageShape<S>>> {
  const prefix = `$KV.${bucket}.`;
  const config = { filter_subject: prefix + filter };
  const live = signal !== undefined;
  const raw = readRaw(bus, {
    stream: `KV_${bucket}`,
    config,
    start: 'latest',
    live,
    ...(signal && { signal }),
  });
  for await (const message of raw) {
    const key = message.subject.slice(prefix.length);
    const deleted = (message.headers?.get('KV-Operation') ?? '') !== '';
    let value: MessageShape<S> | undefined;
    try {
      value = deleted ? undefined : decode(schema, bucket, key, message.data);
    } catch (error) {
      if (onInvalid === undefined || !isParleyError(error, 'MESSAGE_INVALID')) throw error;
      onInvalid(error);
      continue;
    }
    yield { key, value, revision: message.sequence };
  }
}

function record<S extends DescMessage>(schema: S, bucket: string, entry: KvEntry): KvRecord<MessageShape<S>> {
  return { key: entry.key, value: decode(schema, bucket, entry.key, entry.value), revision: entry.revision };
}

function decode<S extends DescMessage>(
  schema: S,
  bucket: string,
  key: string,
  bytes: Uint8Array,
): MessageShape<S> {
  try {
    return fromBinary(schema, bytes);
  } catch (error) {
    const message = `The value of ${key} in ${bucket} is not a ${schema.typeName}: ${(error as Error).message}`;
    throw new ParleyError('MESSAGE_INVALID', message, { details: { bucket, key }, cause: error });
  }
}

function conflict(
  bucket: string,
  key: string,
  wanted: number,
  found: number | undefined,
  cause: unknown,
): ParleyError {
  const message = `${key} in ${bucket} is at revision ${found ?? 'none'}, not ${wanted}; read it again and retry`;
  const details = { bucket, key, found: String(found ?? ''), wanted: String(wanted) };
  return new ParleyError('REVISION_CONFLICT', message, { details, cause });
}
