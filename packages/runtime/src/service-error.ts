import { Metadata } from '@grpc/grpc-js';
import type { ServiceError, StatusObject } from '@grpc/grpc-js';
import { ERROR_DOMAIN, decodeErrorInfo, encodeStatus } from './error-details.js';
import { ParleyError, codeName } from './errors.js';
import { CODES } from './reasons.js';
import type { Code, Reason } from './reasons.js';

const DETAILS_TRAILER = 'grpc-status-details-bin';

/** HTTP/2 stacks refuse trailers over 8 KiB by default, and a refused trailer loses the whole error. */
const MAX_MESSAGE_CHARS = 1000;
const MAX_DETAIL_CHARS = 300;
const MAX_DETAILS = 8;

/**
 * A ParleyError as the status a grpc-js handler returns: code, message, and `google.rpc.Status` with an `ErrorInfo`
 * in the trailer `grpc-status-details-bin`. Long texts are cut so that the trailers always fit.
 */
export function toServiceError(error: ParleyError): StatusObject {
  const code = CODES[error.code];
  const message = cut(error.message, MAX_MESSAGE_CHARS);
  const details = Object.entries(error.details).slice(0, MAX_DETAILS);
  const metadata = new Metadata();
  const info = {
    reason: error.reason,
    domain: ERROR_DOMAIN,
    metadata: Object.fromEntries(details.map(([key, value]) => [key, cut(value, MAX_DETAIL_CHARS)])),
  };
  metadata.set(DETAILS_TRAILER, Buffer.from(encodeStatus(code, message, info)));
  return { code, details: message, metadata };
}

/**
 * A grpc-js client error as a ParleyError whose message names the address. A service of Parley gives its own reason;
 * errors that gRPC itself makes (nothing listens, deadline passed, message too large) get ours.
 *
 * @param where - what was called, for the message: `peer ant at 127.0.0.1:7001, method Generate`
 */
export function fromServiceError(error: ServiceError, where: string): ParleyError {
  const code = codeName(error.code);
  const trailer = error.metadata?.get(DETAILS_TRAILER)[0];
  const info = trailer instanceof Buffer ? decodeErrorInfo(trailer) : undefined;
  if (info?.domain === ERROR_DOMAIN) {
    const options = { details: { ...info.metadata, where }, cause: error };
    return ParleyError.remote(code, info.reason, `${error.details} (from ${where})`, options);
  }
  const reason = TRANSPORT_REASONS[code] ?? 'REMOTE_FAILURE';
  const message = `${TRANSPORT_MESSAGES[reason] ?? 'Call failed'}: ${where}: ${error.details}`;
  return ParleyError.remote(code, reason, message, { details: { where }, cause: error });
}

const TRANSPORT_REASONS: Partial<Record<Code, Reason>> = {
  UNAVAILABLE: 'SERVICE_UNAVAILABLE',
  DEADLINE_EXCEEDED: 'DEADLINE_EXCEEDED',
  CANCELLED: 'CANCELLED',
  UNIMPLEMENTED: 'UNIMPLEMENTED',
  RESOURCE_EXHAUSTED: 'MESSAGE_TOO_LARGE',
};

const TRANSPORT_MESSAGES: Partial<Record<Reason, string>> = {
  SERVICE_UNAVAILABLE: 'No answer; check that the service is running and the address is right',
  DEADLINE_EXCEEDED: 'No answer before the deadline',
  CANCELLED: 'Call was cancelled',
  UNIMPLEMENTED: 'The service lacks this method; is it an older version or another service?',
  MESSAGE_TOO_LARGE: 'Message is larger than the limit; send smaller batches',
};

function cut(text: string, maxChars: number): string {
  return text.length <= maxChars ? text : `${text.slice(0, maxChars - 1)}…`;
}
