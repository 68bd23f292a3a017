import { isParleyError, isRetryable, retry, withDeadline } from '@parley/runtime';
import { busError } from './bus-error.js';

/** How {@link persist} repeats. */
export interface PersistOptions {
  /** The operation and its object, for messages. */
  what: string;
  /** Milliseconds for all attempts. */
  deadlineMs: number;
  signal?: AbortSignal;
  random?: () => number;
}

/** Errors that repeating the same NATS request cannot mend, although their code is a retryable one. */
function worthRepeating(error: unknown): boolean {
  return isRetryable(error) && !isParleyError(error, 'REVISION_CONFLICT');
}

/**
 * Repeats an idempotent NATS operation, so that a server that restarts is waited for.
 *
 * @throws ParleyError: the last failure once the deadline has passed (never a bare DEADLINE_EXCEEDED, unless no
 *   attempt failed before it), or the first that repeating cannot mend
 */
export async function persist<T>(
  options: PersistOptions,
  attempt: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { what, random } = options;
  const backoff = { attempts: Infinity, baseMs: 50, maxMs: 1000, ...(random && { random }) };
  let last: Error | undefined;
  try {
    return await withDeadline(options, (signal) =>
      retry(
        {
          ...backoff,
          signal,
          shouldRetry: worthRepeating,
          onRetry: (error) => (last = busError(error, what)),
        },
        async () => {
          try {
            return await attempt(signal);
          } catch (error) {
            throw busError(error, what);
          }
        },
      ),
    );
  } catch (error) {
    if (last !== undefined && isParleyError(error, 'DEADLINE_EXCEEDED')) throw last;
    throw error;
  }
}
