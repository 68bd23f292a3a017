import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import { AckPolicy, DeliverPolicy } from '@nats-io/jetstream';
import type { ConsumerConfig, StoredMsg } from '@nats-io/jetstream';
import { nanos, nuid } from '@nats-io/transport-node';
import { backoffMs, isParleyError, isRetryable, pause } from '@parley/runtime';
import type { ParleyError } from '@parley/runtime';
import type { BlobReader } from './blobs.js';
import { JS_CODES, busError, jetStreamCode } from './bus-error.js';
import { decodeMessage } from './cloud-event.js';
import type { RawMessage, Received } from './cloud-event.js';
import type { Bus } from './connect.js';
import { persist } from './persist.js';
import { pull } from './pull.js';

/** Which messages of a stream are read. */
export interface ReadOptions<S extends DescMessage> {
  stream: string;
  schema: S;
  blobs: BlobReader;
  /** Subjects read, with wildcards; all unless given. */
  filter?: string;
  /** First sequence; 1 unless given. To go on after a message, its sequence + 1. */
  fromSequence?: number;
  /** Whether to wait for further messages when the last is read; `false` ends there, and is the default. */
  live?: boolean;
  /** Ends the iteration (without an error). A live read needs one. */
  signal?: AbortSignal;
  /** Told of a message that nobody can decode, which is then passed over; without it, its error ends the iteration. */
  onInvalid?: (error: ParleyError, message: Pick<RawMessage, 'subject' | 'sequence'>) => void;
}

/** Reasons why a message will never be decoded, however often it is read. */
const INVALID = ['MESSAGE_INVALID', 'MESSAGE_TOO_LARGE', 'BLOB_MISSING', 'DIGEST_MISMATCH'] as const;

/**
 * The last message whose subject matches (wildcards allowed), or `undefined` where there is none.
 *
 * @throws ParleyError STREAM_MISSING, BUS_UNAVAILABLE, or as {@link decodeMessage}
 */
export async function readLast<S extends DescMessage>(
  bus: Bus,
  options: { stream: string; schema: S; blobs: BlobReader; subject: string },
): Promise<Received<MessageShape<S>> | undefined> {
  const { stream, subject, schema, blobs } = options;
  const found = await lastStored(bus, stream, subject);
  return found === null ? undefined : decodeMessage(schema, storedMessage(found), blobs);
}

/**
 * As {@link readLast}, for a client that may read only some subjects of a stream: permissions can be given for what a
 * consumer filters, not for what a single read asks. On a clustered stream it may miss what was stored an instant ago.
 */
export async function readLastPermitted<S extends DescMessage>(
  bus: Bus,
  options: { stream: string; schema: S; blobs: BlobReader; subject: string },
): Promise<Received<MessageShape<S>> | undefined> {
  const { stream, subject, schema, blobs } = options;
  const found = await lastMessage(bus, stream, subject);
  return found && decodeMessage(schema, found, blobs);
}

/** Sequence of the last message whose subject matches (wildcards allowed); 0 where there is none. */
export async function lastSequence(bus: Bus, stream: string, subject: string): Promise<number> {
  const found = await lastStored(bus, stream, subject);
  return found?.seq ?? 0;
}

function lastStored(bus: Bus, stream: string, subject: string): Promise<StoredMsg | null> {
  return persist({ what: `reading ${subject}`, deadlineMs: 3 * bus.requestTimeoutMs }, () =>
    bus.jsm.streams.getMessage(stream, { last_by_subj: subject }),
  );
}

/** The last message whose subject matches, undecoded, through a consumer; see {@link readLastPermitted}. */
export async function lastMessage(
  bus: Bus,
  stream: string,
  subject: string,
): Promise<RawMessage | undefined> {
  const raw = readRaw(bus, { stream, config: { filter_subject: subject }, start: 'last' });
  for await (const message of raw) return message;
  return undefined;
}

/** How many messages of a stream have a subject that matches. */
export async function countMessages(bus: Bus, stream: string, filter: string): Promise<number> {
  const what = `counting ${filter} in ${stream}`;
  const info = await persist({ what, deadlineMs: 3 * bus.requestTimeoutMs }, () =>
    bus.jsm.streams.info(stream, { subjects_filter: filter }),
  );
  return Object.values(info.state.subjects ?? {}).reduce((sum, count) => sum + count, 0);
}

/**
 * Reads a stream in order from a sequence. Each message comes exactly once, through reconnects and restarts of the
 * server. A message that cannot be decoded ends the iteration with its error, unless `onInvalid` is there to be told.
 */
export async function* readFrom<S extends DescMessage>(
  bus: Bus,
  options: ReadOptions<S>,
): AsyncGenerator<Received<MessageShape<S>>> {
  const config = options.filter === undefined ? {} : { filter_subject: options.filter };
  const start = options.fromSequence ?? 1;
  const raw = readRaw(bus, { ...options, config, start });
  const { schema, blobs, onInvalid } = options;
  for await (const message of raw) {
    let received: Received<MessageShape<S>>;
    try {
      received = await decodeMessage(schema, message, blobs);
    } catch (error) {
      if (onInvalid === undefined || !isParleyError(error, ...INVALID)) throw error;
      onInvalid(error, message);
      continue;
    }
    yield received;
  }
}

/** What {@link readRaw} reads. */
export interface RawReadOptions {
  stream: string;
  config: Partial<ConsumerConfig>;
  /** First sequence, `latest` for the last message of each subject, or `last` for the last one of all. */
  start: number | 'latest' | 'last';
  live?: boolean;
  signal?: AbortSignal;
}

const PULL = { batch: 256, expiresMs: 5000, acknowledged: false };

/** Reads undecoded messages in order through an ephemeral consumer, made again after each loss where the last ended. */
export async function* readRaw(bus: Bus, options: RawReadOptions): AsyncGenerator<RawMessage> {
  const { stream, signal = new AbortController().signal, live = false } = options;
  if (live && options.signal === undefined) throw new TypeError('a live read needs a signal to end it');
  let next = options.start;
  for (let failures = 0; !signal.aborted;) {
    try {
      const { name, pending } = await createEphemeral(bus, options, next);
      if (pending === 0 && !live) return;
      while (!signal.aborted) {
        for await (const message of pull(bus, { ...PULL, stream, consumer: name, signal })) {
          next = message.sequence + 1;
          yield message;
          if (!live && message.pending === 0) return;
        }
        failures = 0;
      }
    } catch (thrown) {
      const error = busError(thrown, `reading ${stream}`);
      if (isFinal(bus, error)) throw error;
      const delayMs = backoffMs(++failures, { baseMs: 50, maxMs: 2000 });
      bus.log.debug({ reason: error.reason, delayMs, next }, error.message);
      await pause(delayMs, signal);
    }
  }
}

/** A lost ephemeral consumer is made again; a stream that is not there will not come. */
function isFinal(bus: Bus, error: ParleyError): boolean {
  if (bus.connection.isClosed()) return true;
  if (error.reason === 'STREAM_MISSING') return jetStreamCode(error.cause) === JS_CODES.streamNotFound;
  return !isRetryable(error);
}

async function createEphemeral(
  bus: Bus,
  { stream, config }: RawReadOptions,
  next: RawReadOptions['start'],
): Promise<{ name: string; pending: number }> {
  const position = positionOf(next, config.filter_subject);
  const info = await bus.jsm.consumers.add(stream, {
    ...config,
    ...position,
    // With a name, the filter becomes part of the request's subject, which permissions can be given for.
    name: nuid.next(),
    ack_policy: AckPolicy.None,
    inactive_threshold: nanos(30_000),
    mem_storage: true,
    num_replicas: 1,
  });
  return { name: info.name, pending: info.num_pending };
}

function positionOf(next: RawReadOptions['start'], filter: string | undefined): Partial<ConsumerConfig> {
  switch (next) {
    case 'latest':
      return { deliver_policy: DeliverPolicy.LastPerSubject, filter_subject: filter ?? '>' };
    case 'last':
      return { deliver_policy: DeliverPolicy.Last };
    default:
      return { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: Math.max(1, next) };
  }
}

function storedMessage(message: StoredMsg): RawMessage {
  const { subject, seq, time, header, data } = message;
  return { subject, sequence: seq, storedTime: time, headers: header, data };
}
