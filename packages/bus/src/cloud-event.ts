import { fromBinary } from '@bufbuild/protobuf';
import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import { headers } from '@nats-io/transport-node';
import type { MsgHdrs } from '@nats-io/transport-node';
import { ParleyError, verifyDigest } from '@parley/runtime';
import type { BlobReader, BlobRef } from './blobs.js';

/**
 * CloudEvents 1.0.2 in the binary mode of its NATS binding: attributes are headers `ce-…`, the payload is the data.
 * A claim check is the extension `dataref` (CloudEvents extensions, `dataref.md`) with the digest and size beside it.
 */
const HEADER = {
  specversion: 'ce-specversion',
  id: 'ce-id',
  source: 'ce-source',
  type: 'ce-type',
  time: 'ce-time',
  contentType: 'content-type',
  dataRef: 'ce-dataref',
  dataSha256: 'ce-datasha256',
  dataBytes: 'ce-databytes',
} as const;

const CONTENT_TYPE = 'application/protobuf';

/** The attributes of an event. */
export interface EventAttributes {
  /** Unique within `source`; the same as `Nats-Msg-Id`. */
  id: string;
  /** Who published: `parley/coordinator`. */
  source: string;
  /** Full name of the protobuf message in the payload. */
  type: string;
  time: Date;
}

/** Headers of an event; `extra` (say, `traceparent`) is added as it is. */
export function eventHeaders(
  event: EventAttributes,
  extra: Readonly<Record<string, string>>,
  blob?: BlobRef,
): MsgHdrs {
  const result = headers();
  result.set(HEADER.specversion, '1.0');
  result.set(HEADER.id, event.id);
  result.set(HEADER.source, event.source);
  result.set(HEADER.type, event.type);
  result.set(HEADER.time, event.time.toISOString());
  result.set(HEADER.contentType, CONTENT_TYPE);
  for (const [key, value] of Object.entries(extra)) result.set(key, value);
  if (blob) {
    result.set(HEADER.dataRef, blob.uri);
    result.set(HEADER.dataSha256, blob.digest);
    result.set(HEADER.dataBytes, String(blob.bytes));
  }
  return result;
}

/** A message as read from a stream. */
export interface Received<T> {
  readonly subject: string;
  /** Position in the stream. */
  readonly sequence: number;
  /** CloudEvents id, which is the message id; empty where a foreign publisher set none. */
  readonly id: string;
  readonly source: string;
  /** When the stream stored it. */
  readonly storedTime: Date;
  readonly headers: Readonly<Record<string, string>>;
  readonly message: T;
}

/** What a message is made of before it is decoded: the same for stored and for delivered messages. */
export interface RawMessage {
  subject: string;
  sequence: number;
  storedTime: Date;
  headers: MsgHdrs | undefined;
  data: Uint8Array;
}

/**
 * Decodes a message, fetching its payload from the blob store where it was claim-checked.
 *
 * @throws ParleyError MESSAGE_INVALID where the type or the bytes are not of `schema`; BLOB_MISSING or
 *   DIGEST_MISMATCH where the referenced payload is gone or damaged
 */
export async function decodeMessage<S extends DescMessage>(
  schema: S,
  raw: RawMessage,
  blobs: BlobReader,
): Promise<Received<MessageShape<S>>> {
  const all = headerRecord(raw.headers);
  const type = all[HEADER.type];
  const where = `message ${raw.sequence} on ${raw.subject}`;
  if (type !== undefined && type !== schema.typeName) {
    const message = `The ${where} is a ${type}, but ${schema.typeName} is expected; it was published to the wrong subject`;
    throw new ParleyError('MESSAGE_INVALID', message, { details: { subject: raw.subject, type } });
  }
  const bytes = await payload(raw, all, blobs, where);
  return {
    subject: raw.subject,
    sequence: raw.sequence,
    id: all[HEADER.id] ?? all['Nats-Msg-Id'] ?? '',
    source: all[HEADER.source] ?? '',
    storedTime: raw.storedTime,
    headers: all,
    message: parse(schema, bytes, where),
  };
}

/** A round of many long answers is far below; who writes more wants a reader's memory. */
const MAX_PAYLOAD_BYTES = 256 * 1024 * 1024;

async function payload(
  raw: RawMessage,
  all: Record<string, string>,
  blobs: BlobReader,
  where: string,
): Promise<Uint8Array> {
  const [uri, digest] = [all[HEADER.dataRef], all[HEADER.dataSha256]];
  if (uri === undefined) return raw.data;
  if (digest === undefined) {
    throw new ParleyError('MESSAGE_INVALID', `The ${where} refers to ${uri} without ${HEADER.dataSha256}`);
  }
  const bytes = await blobs.get(uri, digest, MAX_PAYLOAD_BYTES);
  verifyDigest(bytes, digest, `payload of the ${where} at ${uri}`);
  return bytes;
}

function parse<S extends DescMessage>(schema: S, bytes: Uint8Array, where: string): MessageShape<S> {
  try {
    return fromBinary(schema, bytes);
  } catch (error) {
    const message = `The ${where} is not a ${schema.typeName}: ${(error as Error).message}`;
    throw new ParleyError('MESSAGE_INVALID', message, { details: { type: schema.typeName }, cause: error });
  }
}

function headerRecord(found: MsgHdrs | undefined): Record<string, string> {
  const keys = found?.keys() ?? [];
  return Object.fromEntries(keys.map((key) => [key, found?.get(key) ?? '']));
}
