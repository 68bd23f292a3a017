import { CODES, REASONS, isReason } from './reasons.js';
import type { Code, Reason } from './reasons.js';

/** What a {@link ParleyError} may carry besides its message. */
export interface ParleyErrorOptions {
  /** Facts for programs (names, numbers, paths), sent as `ErrorInfo.metadata`. */
  details?: Readonly<Record<string, string>>;
  cause?: unknown;
}

/**
 * The one error class of Parley. The message names the thing and the remedy; `reason` is what programs decide on;
 * `code` follows from the reason.
 */
export class ParleyError extends Error {
  override readonly name = 'ParleyError';
  readonly code: Code;
  /** A {@link Reason}, or, from a newer or foreign service, a reason this version does not know. */
  readonly reason: Reason | (string & {});
  readonly details: Readonly<Record<string, string>>;

  constructor(reason: Reason, message: string, options: ParleyErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = reason;
    this.code = REASONS[reason].code;
    this.details = Object.freeze({ ...options.details });
  }

  /**
   * An error as another process reported it: its code is kept as sent, and so is a reason that is not in this
   * version's registry.
   */
  static remote(code: Code, reason: string, message: string, options: ParleyErrorOptions = {}): ParleyError {
    const error = new ParleyError(isReason(reason) ? reason : 'REMOTE_FAILURE', message, options);
    return Object.assign(error, { code, reason });
  }

  /**
   * Turns anything thrown into a ParleyError. For the edges only (an RPC adapter, a consumer loop, `main`), where
   * code whose errors are not ours meets code that must report them. ParleyErrors pass unchanged; an abort becomes
   * CANCELLED, a full disk DISK_FULL, and everything else INTERNAL with the original as its cause.
   */
  static from(thrown: unknown): ParleyError {
    if (thrown instanceof ParleyError) return thrown;
    if (!(thrown instanceof Error)) return new ParleyError('INTERNAL', String(thrown), { cause: thrown });
    const reason = WELL_KNOWN.get(systemCode(thrown) ?? thrown.name) ?? 'INTERNAL';
    return new ParleyError(reason, thrown.message, { cause: thrown });
  }
}

const WELL_KNOWN: ReadonlyMap<string, Reason> = new Map<string, Reason>([
  ['AbortError', 'CANCELLED'],
  ['ABORT_ERR', 'CANCELLED'],
  ['TimeoutError', 'DEADLINE_EXCEEDED'],
  ['ENOSPC', 'DISK_FULL'],
  ['EDQUOT', 'DISK_FULL'],
]);

/** The `code` of a Node system error (`ENOENT`, `EADDRINUSE`, …), or `undefined` for anything else. */
export function systemCode(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !('code' in thrown)) return undefined;
  return typeof thrown.code === 'string' ? thrown.code : undefined;
}

/** Whether `thrown` is a ParleyError, of one of `reasons` when any are given. */
export function isParleyError(thrown: unknown, ...reasons: Reason[]): thrown is ParleyError {
  if (!(thrown instanceof ParleyError)) return false;
  return reasons.length === 0 || reasons.some((reason) => reason === thrown.reason);
}

const RETRYABLE: ReadonlySet<Code> = new Set<Code>([
  'UNAVAILABLE',
  'DEADLINE_EXCEEDED',
  'RESOURCE_EXHAUSTED',
  'ABORTED',
  'CANCELLED',
  'INTERNAL',
  'UNKNOWN',
]);

/**
 * Whether the same work may succeed when repeated later. Codes that say "this input will never do"
 * (INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION, DATA_LOSS, …) are final; anything that is not a ParleyError
 * counts as retryable, because a defect must never discard work.
 */
export function isRetryable(thrown: unknown): boolean {
  if (!(thrown instanceof ParleyError)) return true;
  return RETRYABLE.has(thrown.code) && thrown.reason !== 'MESSAGE_TOO_LARGE';
}

/** The name of a gRPC status number; UNKNOWN for numbers outside the specification. */
export function codeName(status: number): Code {
  const found = Object.entries(CODES).find(([, value]) => value === status);
  return (found?.[0] as Code | undefined) ?? 'UNKNOWN';
}
