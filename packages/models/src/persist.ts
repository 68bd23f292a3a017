import { ParleyError, backoffMs, sleep } from '@parley/runtime';
import type { BackoffOptions } from '@parley/runtime';

/** A failure of the way or of a server that may pass: what {@link persist} repeats. */
export class Interruption extends Error {
  override readonly name = 'Interruption';
  /** How long the server asks to be left alone; 0 unless it said so. */
  readonly retryAfterMs: number;

  constructor(message: string, { retryAfterMs = 0, cause }: { retryAfterMs?: number; cause?: unknown } = {}) {
    super(message, { cause });
    this.retryAfterMs = retryAfterMs;
  }
}

/** How requests are made and repeated. */
export interface Transport {
  signal: AbortSignal;
  /** Silence after which a connection is given up. */
  stallMs: number;
  /** Attempts in a row that bring not one byte, after which it is given up. */
  attempts: number;
  backoff: BackoffOptions;
  /** Told of every failure that will be repeated. */
  onRetry: (error: Interruption, delayMs: number) => void;
}

/** Longer than this no server is waited for. */
const MAX_RETRY_AFTER_MS = 120_000;

/** {@link Transport} without what only its owner knows. */
export const PATIENCE = {
  stallMs: 30_000,
  attempts: 8,
  backoff: { baseMs: 500, maxMs: 30_000 },
} as const satisfies Partial<Transport>;

/**
 * Repeats work that is interrupted. What it has got is not lost: `progressed` says that something arrived, and then it
 * counts from one again.
 *
 * @throws ParleyError SERVICE_UNAVAILABLE with the last interruption; the signal's reason; whatever else the work throws
 */
export async function persist<T>(
  { signal, attempts, backoff, onRetry }: Transport,
  work: (progressed: () => void) => Promise<T>,
): Promise<T> {
  for (let failures = 1; ; failures++) {
    signal.throwIfAborted();
    let isFurther = false;
    try {
      return await work(() => (isFurther = true));
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof Interruption)) throw error;
      if (isFurther) failures = 1;
      if (failures >= attempts) {
        const message = `${error.message}; given up after ${attempts} attempts. What arrived is kept: the next attempt goes on there`;
        throw new ParleyError('SERVICE_UNAVAILABLE', message, { cause: error });
      }
      const delayMs = Math.max(
        backoffMs(failures, backoff),
        Math.min(error.retryAfterMs, MAX_RETRY_AFTER_MS),
      );
      onRetry(error, delayMs);
      await sleep(delayMs, signal);
    }
  }
}

/** A limit on silence: aborts its signal when {@link StallWatch.alive} was not called for a while. */
export interface StallWatch extends Disposable {
  readonly signal: AbortSignal;
  alive(): void;
}

/** Watches one request. Its signal is aborted with an {@link Interruption}, or with the reason of the outer one. */
export function watchForStall({ signal, stallMs }: Transport, what: string): StallWatch {
  const controller = new AbortController();
  const give = () => controller.abort(new Interruption(`${what} sent nothing for ${stallMs / 1000} s`));
  const timer = setTimeout(give, stallMs);
  return {
    signal: AbortSignal.any([signal, controller.signal]),
    alive: () => void timer.refresh(),
    [Symbol.dispose]: () => clearTimeout(timer),
  };
}
