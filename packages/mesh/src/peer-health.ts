import { create } from '@bufbuild/protobuf';
import { ItemFailureSchema } from '@parley/contracts';
import type { ItemFailure } from '@parley/contracts';
import { ParleyError } from '@parley/runtime';

/** Whether a peer answers, and if not, why. */
export type PeerHealth =
  { readonly available: true } | { readonly available: false; readonly cause: ItemFailure };

/** Told of every change. */
export type HealthListener = (health: PeerHealth) => void;

/** The history of one call while it is being repeated. */
export interface CallHistory {
  failed(error: unknown): void;
  /** The call was answered or given up. */
  over(): void;
}

/**
 * Decides when a peer counts as lost: nothing has reached it for `lostAfterMs`, or one of its calls has kept failing
 * for as long although probes get through.
 */
export interface HealthTracker {
  readonly health: PeerHealth;
  /** Aborted when nothing reaches the peer any more, so that calls under way need not wait for their deadline. */
  readonly unreachable: AbortSignal;
  /** Starts the clock anew: nobody has looked until now. */
  reset(): void;
  probed(error?: unknown): void;
  beginCall(): CallHistory;
  listen(listener: HealthListener): () => void;
  /** Resolves when the peer can be reached, as far as is known. @throws the signal's reason */
  reachable(signal: AbortSignal): Promise<void>;
}

/** @param nowMs - a monotonic clock */
export function createHealthTracker(lostAfterMs: number, nowMs: () => number): HealthTracker {
  const listeners = new Set<HealthListener>();
  const waiting = new Set<() => void>();
  const failing = new Map<CallHistory, ItemFailure>();
  let unreachable = new AbortController();
  let health: PeerHealth = { available: true };
  let answeredMs = nowMs();

  const become = (next: PeerHealth): void => {
    if (next.available === health.available) return;
    health = next;
    for (const listener of [...listeners]) listener(next);
  };
  const recover = (): void => {
    if (failing.size === 0 && !unreachable.signal.aborted) become({ available: true });
  };
  return {
    get health() {
      return health;
    },
    get unreachable() {
      return unreachable.signal;
    },
    reset() {
      answeredMs = nowMs();
    },
    probed(error) {
      if (error === undefined) {
        answeredMs = nowMs();
        if (unreachable.signal.aborted) unreachable = new AbortController();
        for (const resume of [...waiting]) resume();
        recover();
      } else if (nowMs() - answeredMs >= lostAfterMs) {
        const cause = toItemFailure(error);
        unreachable.abort(new ParleyError('PEER_LOST', cause.message));
        become({ available: false, cause });
      }
    },
    beginCall() {
      let sinceMs: number | undefined;
      const call: CallHistory = {
        failed(error) {
          sinceMs ??= nowMs();
          if (nowMs() - sinceMs < lostAfterMs) return;
          const cause = toItemFailure(error);
          failing.set(call, cause);
          become({ available: false, cause });
        },
        over() {
          failing.delete(call);
          recover();
        },
      };
      return call;
    },
    listen(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    async reachable(signal) {
      signal.throwIfAborted();
      if (!unreachable.signal.aborted) return;
      await new Promise<void>((resolve, reject) => {
        const finish = (then: () => void) => {
          waiting.delete(resume);
          signal.removeEventListener('abort', abort);
          then();
        };
        const resume = () => finish(resolve);
        const abort = () => finish(() => reject(signal.reason as Error));
        waiting.add(resume);
        signal.addEventListener('abort', abort, { once: true });
      });
    },
  };
}

/** Anything thrown, as the typed failure that events and rounds carry. */
export function toItemFailure(error: unknown): ItemFailure {
  const { reason, message } = ParleyError.from(error);
  return create(ItemFailureSchema, { reason, message });
}
