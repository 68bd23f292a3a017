import { ParleyError } from '@parley/runtime';

/** What the engine can be doing, as `DescribeResponse.activity` names it. */
export type Activity = 'generating' | 'scoring' | 'training' | 'loading';

/** The engine's one queue: jobs run one at a time in the order in which they were asked for. */
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
  let activity: Activity | 'idle' = 'idle';
  let depth = 0;
  let busyMs = 0;
  let busySinceMs = 0;
  let closed = false;
  let tail: Promise<unknown> = Promise.resolve();

  const execute = async <T>(name: Activity, job: () => Promise<T>, signal?: AbortSignal): Promise<T> => {
    signal?.throwIfAborted();
    activity = name;
    busySinceMs = nowMs();
    try {
      return await job();
    } finally {
      const jobMs = nowMs() - busySinceMs;
      busyMs += jobMs;
      activity = 'idle';
      onBusy(name, jobMs / 1000);
    }
  };
  return {
    get activity() {
      return activity;
    },
    get depth() {
      return depth;
    },
    get utilization() {
      const now = nowMs();
      const busy = busyMs + (activity === 'idle' ? 0 : now - busySinceMs);
      return now > createdMs ? Math.min(1, busy / (now - createdMs)) : 0;
    },
    async run(name, job, signal) {
      if (closed)
        throw new ParleyError(
          'SHUTTING_DOWN',
          'The peer is stopping and takes no more work; ask again when it is back',
        );
      depth++;
      const result = tail.then(() => execute(name, job, signal));
      tail = result.then(
        () => depth--,
        () => depth--,
      );
      return result;
    },
    async close() {
      closed = true;
      await tail;
    },
  };
}
