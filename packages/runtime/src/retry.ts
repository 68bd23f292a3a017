import { sleep as realSleep } from './deadline.js';
import { isRetryable } from './errors.js';

/** Shape of a growing, jittered pause between attempts. */
export interface BackoffOptions {
  /** Upper bound of the first pause. */
  baseMs: number;
  /** Upper bound of every pause. */
  maxMs: number;
  /** Uniform in [0, 1); `Math.random` unless given. */
  random?: () => number;
}

/**
 * The pause before attempt `attempt + 1` (attempts count from 1): uniform in [½, 1] of min(maxMs, baseMs·2^(attempt−1)),
 * so that clients that failed together do not return together, and none returns at once.
 */
export function backoffMs(attempt: number, { baseMs, maxMs, random = Math.random }: BackoffOptions): number {
  const ceiling = Math.min(maxMs, baseMs * 2 ** (attempt - 1));
  return ceiling * (0.5 + 0.5 * random());
}

/** How {@link retry} repeats. */
export interface RetryOptions extends BackoffOptions {
  /** Attempts in all, the first included; at least 1. `Infinity` needs a signal to end. */
  attempts: number;
  signal?: AbortSignal;
  /** {@link isRetryable} unless given. */
  shouldRetry?: (error: unknown) => boolean;
  /** Told of every failure that will be repeated, with the pause before it. */
  onRetry?: (error: unknown, attempt: number, delayMs: number) => void;
  sleep?: (ms: number, signal?: AbortSignal) => Promise<void>;
}

/** Repeats work until it succeeds. @throws the last error, or the first that is not worth repeating */
export async function retry<T>(options: RetryOptions, work: (attempt: number) => Promise<T>): Promise<T> {
  const { attempts, signal, shouldRetry = isRetryable, onRetry, sleep = realSleep } = options;
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted();
    try {
      return await work(attempt);
    } catch (error) {
      if (attempt >= attempts || !shouldRetry(error)) throw error;
      const delayMs = backoffMs(attempt, options);
      onRetry?.(error, attempt, delayMs);
      await sleep(delayMs, signal);
    }
  }
}
