import { ParleyError } from '@parley/runtime';

/** What the engine can be doing, as `DescribeResponse.activity` names it. */
export type Activity = 'generating' | 'scoring' | 'training' | 'loading';

/** The engine's one queue: jobs begin in the order in which they were asked for; some run beside others. */
export interface EngineQueue {
  /** What the engine does now. */
  readonly activity: Activity | 'idle';
  /** Jobs that wait or run. */
  readonly depth: number;
  /** Fraction of the time since the queue was made in which a job ran, in [0, 1]. */
  readonly utilization: number;
  /**
   * Runs a job when all that were asked for before it have ended, so that nothing else touches the engine meanwhile.
   * A job whose signal fires while it waits never starts.
   *
   * @throws what the job throws, the signal's reason, or ParleyError SHUTTING_DOWN after {@link close}
   */
  run<T>(activity: Activity, job: () => Promise<T>, signal?: AbortSignal): Promise<T>;
  /**
   * Runs a job beside others of its kind, once all that {@link run} was asked for before have ended. Those that it is asked for
   * later wait for this one, unless the job `outlives` them: then they only begin after it.
   *
   * @throws as {@link run}
   */
  share<T>(
    activity: Activity,
    job: () => Promise<T>,
    options?: { readonly signal?: AbortSignal; readonly outlives?: boolean },
  ): Promise<T>;
  /** Refuses new jobs; resolves when those that were asked for have ended. Idempotent. */
  close(): Promise<void>;
}

/**
 * @param nowMs - a monotonic clock in milliseconds
 * @param onBusy - told of every job that ended
 */
export function createEngineQueue(
  nowMs: () => number,
  onBusy: (activity: Activity, seconds: number) => void = () => undefined,
): EngineQueue {
  const createdMs = nowMs();
  const running: Activity[] = [];
  let depth = 0;
  let busyMs = 0;
  let busySinceMs = 0;
  let closed = false;
  /** The end of the last job that had the engine to itself. */
  let lastAlone: Promise<unknown> = Promise.resolve();
  /** Shared jobs that the next job of that kind waits for. */
  const awaited = new Set<Promise<unknown>>();
  /** Shared jobs that nobody but {@link EngineQueue.close} waits for. */
  const outliving = new Set<Promise<unknown>>();

  const execute = async <T>(name: Activity, job: () => Promise<T>, signal?: AbortSignal): Promise<T> => {
    signal?.throwIfAborted();
    const startedMs = nowMs();
    if (running.length === 0) busySinceMs = startedMs;
    running.push(name);
    try {
      return await job();
    } finally {
      running.splice(running.indexOf(name), 1);
      const endedMs = nowMs();
      if (running.length === 0) busyMs += endedMs - busySinceMs;
      onBusy(name, (endedMs - startedMs) / 1000);
    }
  };
  const enqueue = async <T>(start: () => Promise<T>): Promise<T> => {
    if (closed)
      throw new ParleyError(
        'SHUTTING_DOWN',
        'The peer is stopping and takes no more work; ask again when it is back',
      );
    depth++;
    return start();
  };
  const settled = (result: Promise<unknown>): Promise<unknown> =>
    result.then(
      () => depth--,
      () => depth--,
    );
  return {
    get activity() {
      return running.at(-1) ?? 'idle';
    },
    get depth() {
      return depth;
    },
    get utilization() {
      const now = nowMs();
      const busy = busyMs + (running.length === 0 ? 0 : now - busySinceMs);
      return now > createdMs ? Math.min(1, busy / (now - createdMs)) : 0;
    },
    run: (name, job, signal) =>
      enqueue(() => {
        const result = Promise.all([lastAlone, ...awaited]).then(() => execute(name, job, signal));
        lastAlone = settled(result);
        return result;
      }),
    share: (name, job, { signal, outlives = false } = {}) =>
      enqueue(() => {
        // Several turns of the microtask queue after the same promise, as `run` takes, so that the order of asking is kept.
        const result = Promise.all([lastAlone]).then(() => execute(name, job, signal));
        const others = outlives ? outliving : awaited;
        const end = settled(result).finally(() => others.delete(end));
        others.add(end);
        return result;
      }),
    async close() {
      closed = true;
      await Promise.all([lastAlone, ...awaited, ...outliving]);
    },
  };
}
