import { ParleyError } from './errors.js';

/** How {@link withDeadline} names and bounds the work. */
export interface DeadlineOptions {
  deadlineMs: number;
  /** What is being done, for the message: `connecting to nats://127.0.0.1:4222`. */
  what: string;
  /** Abandons the work early, with CANCELLED. */
  signal?: AbortSignal;
}

/**
 * Runs work that gets a signal aborted at the deadline. The promise settles at the deadline even if the work
 * ignores its signal; what the work does later is discarded.
 *
 * @throws ParleyError DEADLINE_EXCEEDED naming the work and the milliseconds, CANCELLED, or what the work throws
 */
export async function withDeadline<T>(
  { deadlineMs, what, signal }: DeadlineOptions,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const { promise: gaveUp, reject } = deferred<never>();
  const giveUp = (error: ParleyError) => {
    reject(error);
    controller.abort(error);
  };
  const cancel = () => giveUp(new ParleyError('CANCELLED', `Cancelled: ${what}`, { cause: signal?.reason }));
  const timer = setTimeout(
    () => giveUp(new ParleyError('DEADLINE_EXCEEDED', `Not done within ${deadlineMs} ms: ${what}`)),
    deadlineMs,
  );
  signal?.addEventListener('abort', cancel, { once: true });
  if (signal?.aborted) cancel();
  try {
    return await Promise.race([gaveUp, work(controller.signal)]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', cancel);
  }
}

/**
 * Waits `ms` milliseconds.
 *
 * @throws the signal's reason as soon as it is aborted
 */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  const { promise, resolve, reject } = deferred<void>();
  const abort = () => reject(signal?.reason as Error);
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener('abort', abort, { once: true });
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}

/** Waits `ms` milliseconds, or less if the signal is aborted: for loops that look at the signal themselves. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** A promise with its two handles. */
export interface Deferred<T> {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: Error) => void;
}

/** `Promise.withResolvers` (ES2024) for the oldest Node we support. */
export function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}
