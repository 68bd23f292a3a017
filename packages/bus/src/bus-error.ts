import { errors } from '@nats-io/transport-node';
import { JetStreamApiError } from '@nats-io/jetstream';
import { ParleyError } from '@parley/runtime';
import type { Reason } from '@parley/runtime';

/** JetStream API error codes this package decides on (nats-server `server/errors.json`). */
export const JS_CODES = {
  consumerNotFound: 10014,
  insufficientResources: 10023,
  messageNotFound: 10037,
  resourcesExceeded: 10047,
  streamNameInUse: 10058,
  streamNotFound: 10059,
  wrongLastSequence: 10071,
  storeFailed: 10077,
  consumerExists: 10148,
  wrongLastSequenceUnknown: 10164,
} as const;

const REASON_BY_JS_CODE: ReadonlyMap<number, Reason> = new Map<number, Reason>([
  [JS_CODES.consumerNotFound, 'STREAM_MISSING'],
  [JS_CODES.streamNotFound, 'STREAM_MISSING'],
  [JS_CODES.streamNameInUse, 'STREAM_CONFLICT'],
  [JS_CODES.consumerExists, 'STREAM_CONFLICT'],
  [JS_CODES.wrongLastSequence, 'REVISION_CONFLICT'],
  [JS_CODES.wrongLastSequenceUnknown, 'REVISION_CONFLICT'],
  [JS_CODES.insufficientResources, 'DISK_FULL'],
  [JS_CODES.resourcesExceeded, 'DISK_FULL'],
]);

/** The JetStream API error code of something thrown, or `undefined` where it is not such an error. */
export function jetStreamCode(thrown: unknown): number | undefined {
  return thrown instanceof JetStreamApiError ? thrown.code : undefined;
}

/** A failed NATS operation as a ParleyError. `what` names the operation and its object: `publishing to parley.x`. */
export function busError(thrown: unknown, what: string): ParleyError {
  if (thrown instanceof ParleyError) return thrown;
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  const options = { details: { what }, cause: thrown };
  const code = jetStreamCode(thrown);
  if (code === JS_CODES.storeFailed || /no space left|maximum bytes exceeded/.test(text)) {
    return new ParleyError(
      'DISK_FULL',
      `nats-server has no room: ${what}: ${text}; free its disk or raise its limits`,
      options,
    );
  }
  const reason =
    code === undefined ? clientReason(thrown) : (REASON_BY_JS_CODE.get(code) ?? 'BUS_UNAVAILABLE');
  return new ParleyError(reason, `${HINTS[reason] ?? 'NATS failed'}: ${what}: ${text}`, options);
}

function clientReason(thrown: unknown): Reason {
  if (thrown instanceof errors.PermissionViolationError || thrown instanceof errors.AuthorizationError) {
    return 'NATS_DENIED';
  }
  if (thrown instanceof errors.InvalidArgumentError || thrown instanceof errors.InvalidSubjectError)
    return 'INTERNAL';
  return thrown instanceof Error && thrown.message.includes('max_payload')
    ? 'MESSAGE_TOO_LARGE'
    : 'BUS_UNAVAILABLE';
}

const HINTS: Partial<Record<Reason, string>> = {
  STREAM_MISSING: 'A stream, consumer or bucket is missing; create the topology first (ensureTopology)',
  STREAM_CONFLICT: 'A stream or consumer exists with other settings',
  REVISION_CONFLICT: 'Another writer was first; read again and retry',
  DISK_FULL: 'nats-server has no room; free its disk or raise its JetStream limits',
  NATS_DENIED: 'nats-server refused; check the permissions of this user',
  BUS_UNAVAILABLE: 'nats-server did not confirm; check that it is up and that the stream exists',
  MESSAGE_TOO_LARGE: "The message exceeds the server's max_payload",
};
