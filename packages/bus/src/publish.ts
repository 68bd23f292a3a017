import { create, toBinary } from '@bufbuild/protobuf';
import type { DescMessage, MessageInitShape } from '@bufbuild/protobuf';
import type { MsgHdrs } from '@nats-io/transport-node';
import {
  ParleyError,
  SpanKind,
  activeTrace,
  inSpan,
  isParleyError,
  sha256,
  startTimer,
  traceHeaders,
} from '@parley/runtime';
import type { BlobStore } from './blobs.js';
import { JS_CODES, jetStreamCode } from './bus-error.js';
import { eventHeaders } from './cloud-event.js';
import type { Bus } from './connect.js';
import { persist } from './persist.js';
import { lastMessage } from './read.js';
import { streamOf } from './subjects.js';

/** Where and as what a message is published. */
export interface PublishOptions {
  subject: string;
  /** `Nats-Msg-Id` and CloudEvents id: the same for every attempt to publish this message. */
  id: string;
  /** Further headers. `traceparent` is added where the publishing belongs to a trace. */
  headers?: Readonly<Record<string, string>>;
  /** Where the payload goes if it does not fit a message; the publisher's unless given. */
  blobs?: BlobStore;
  /** Milliseconds for all attempts; the publisher's unless given. */
  deadlineMs?: number;
  signal?: AbortSignal;
}

/** What the stream holds after a publish. */
export interface Published {
  stream: string;
  /** Sequence of the message under this subject: ours, or the copy that was there first. */
  sequence: number;
  /** Whether the message was in the stream already; a success, because the subject is the identity. */
  duplicate: boolean;
}

/** How a publisher publishes. */
export interface PublisherOptions {
  /** CloudEvents source: `parley/coordinator`. */
  source: string;
  /** Where payloads go that do not fit a message. */
  blobs: BlobStore;
  /** Payload size in bytes from which a message carries a reference; what the server takes, less 64 KiB, unless given. */
  claimCheckBytes?: number;
  /** Milliseconds for all attempts of one publish; 30 000 unless given. */
  deadlineMs?: number;
  now?: () => Date;
  random?: () => number;
}

/** Publishes protobuf messages as CloudEvents. Both methods may be repeated after any failure without harm. */
export interface Publisher {
  /**
   * Publishes the one message a subject ever holds. The stream itself refuses a second one, whatever its id, however
   * late (`Nats-Expected-Last-Subject-Sequence: 0`); the refusal is reported as `duplicate`.
   *
   * @throws ParleyError BUS_UNAVAILABLE when no attempt was confirmed before the deadline, DISK_FULL, STREAM_MISSING
   */
  publishOnce<S extends DescMessage>(
    schema: S,
    message: MessageInitShape<S>,
    options: PublishOptions,
  ): Promise<Published>;
  /**
   * Appends to a subject that holds many messages. `after` is the sequence of the last message the writer knows on
   * the subject (0 for none): where another was appended since, nothing is written. Without `after`, only the
   * stream's window of two minutes keeps a repeated id out.
   *
   * @throws ParleyError REVISION_CONFLICT when the subject's last message is not `after`, and as publishOnce
   */
  append<S extends DescMessage>(
    schema: S,
    message: MessageInitShape<S>,
    options: PublishOptions & { after?: number },
  ): Promise<Published>;
}

/** A publisher on a bus. */
export function createPublisher(bus: Bus, options: PublisherOptions): Publisher {
  const send: Publisher['append'] = async (schema, message, publish) => {
    const prepared = await prepare(bus, options, toBinary(schema, create(schema, message)), schema, publish);
    const { deadlineMs = options.deadlineMs ?? 30_000, signal } = publish;
    const what = `publishing ${publish.id} to ${publish.subject}`;
    const { random } = options;
    return persist({ what, deadlineMs, ...(signal && { signal }), ...(random && { random }) }, () =>
      attempt(bus, prepared, publish),
    );
  };
  const sendOnce: Publisher['publishOnce'] = async (schema, message, publish) => {
    try {
      return await send(schema, message, { ...publish, after: 0 });
    } catch (error) {
      if (!isParleyError(error, 'REVISION_CONFLICT')) throw error;
      const { stream = '', sequence } = error.details;
      return { stream, sequence: Number(sequence), duplicate: true };
    }
  };
  return {
    append: (schema, message, publish) => observed(bus, publish, () => send(schema, message, publish)),
    publishOnce: (schema, message, publish) =>
      observed(bus, publish, () => sendOnce(schema, message, publish)),
  };
}

/** Measures a publication and, where it belongs to a trace, gives it a span (OpenTelemetry's messaging conventions). */
async function observed(
  { metrics }: Bus,
  { subject, id }: PublishOptions,
  publish: () => Promise<Published>,
): Promise<Published> {
  const timer = startTimer();
  const stream = streamOf(subject);
  const attributes = {
    'messaging.system': 'nats',
    'messaging.operation.type': 'send',
    'messaging.destination.name': subject,
    'messaging.message.id': id,
  };
  try {
    const published = activeTrace()
      ? await inSpan(`send ${stream}`, { kind: SpanKind.PRODUCER, attributes }, publish)
      : await publish();
    metrics.publish.observe({ stream, outcome: published.duplicate ? 'duplicate' : 'stored' }, timer());
    return published;
  } catch (error) {
    metrics.publish.observe({ stream, outcome: 'failed' }, timer());
    throw error;
  }
}

interface Prepared {
  data: Uint8Array;
  headers: MsgHdrs;
}

async function prepare(
  bus: Bus,
  options: PublisherOptions,
  bytes: Uint8Array,
  schema: DescMessage,
  publish: PublishOptions,
): Promise<Prepared> {
  const { source, blobs, now = () => new Date(), claimCheckBytes = bus.maxPayloadBytes - 65_536 } = options;
  const event = { id: publish.id, source, type: schema.typeName, time: now() };
  const extra = { ...traceHeaders(), ...publish.headers };
  if (bytes.length < claimCheckBytes) return { data: bytes, headers: eventHeaders(event, extra) };
  const blob = await (publish.blobs ?? blobs).put(`messages/${sha256(bytes)}`, bytes);
  return { data: new Uint8Array(), headers: eventHeaders(event, extra, blob) };
}

async function attempt(
  bus: Bus,
  { data, headers }: Prepared,
  { subject, id, after }: PublishOptions & { after?: number },
): Promise<Published> {
  const expect = after === undefined ? {} : { expect: { lastSubjectSequence: after } };
  try {
    const ack = await bus.js.publish(subject, data, {
      msgID: id,
      headers,
      timeout: bus.requestTimeoutMs,
      ...expect,
    });
    return { stream: ack.stream, sequence: ack.seq, duplicate: ack.duplicate };
  } catch (error) {
    if (jetStreamCode(error) !== JS_CODES.wrongLastSequence) throw error;
    return resolveConflict(bus, subject, id, error);
  }
}

/**
 * The subject already holds a later message than expected. It is ours where an earlier attempt was stored and only
 * its confirmation lost.
 */
async function resolveConflict(bus: Bus, subject: string, id: string, cause: unknown): Promise<Published> {
  const stream = streamOf(subject);
  const found = await lastMessage(bus, stream, subject);
  if (found === undefined) {
    // The stream's leader has it, since it refused; a replica may not have it yet.
    throw new ParleyError('BUS_UNAVAILABLE', `${subject} holds a message that cannot be read yet`, { cause });
  }
  const { sequence, headers } = found;
  if (headers?.get('Nats-Msg-Id') === id) return { stream, sequence, duplicate: true };
  const message = `${subject} already ends with message ${sequence}, another than ${id} was to follow; read it and retry`;
  throw new ParleyError('REVISION_CONFLICT', message, {
    details: { stream, sequence: String(sequence) },
    cause,
  });
}
