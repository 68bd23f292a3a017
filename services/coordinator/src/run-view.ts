import { RunState } from '@parley/contracts';
import type { Run } from '@parley/contracts';
import { createChanges } from './changes.js';
import { hasEnded, inState } from './run-state.js';
import type { RunStore, StoredRun } from './run-store.js';

/** One run as the store tells it, for whoever drives it. */
export interface RunView {
  readonly run: Run;
  /** Takes what the store says, unless something later is known already. */
  update(stored: StoredRun): void;
  /** Waits while the run is paused. @returns false once it has ended @throws the signal's reason */
  running(signal: AbortSignal): Promise<boolean>;
  /** Does work that ends early, with `undefined`, when the run is paused or ended. */
  whileRunning<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T | undefined>;
  /** As {@link RunView.whileRunning}, but a pause lets the work finish. */
  untilEnded<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T | undefined>;
  /** Puts the run into another state, unless it has ended meanwhile. */
  setState(state: RunState, reason: string): Promise<void>;
}

export function createRunView(initial: StoredRun, store: RunStore, wallClockMs: () => number): RunView {
  const changes = createChanges();
  let { run, revision } = initial;
  const isRunning = () => run.state === RunState.RUNNING;
  const update = (next: StoredRun): void => {
    if (next.revision <= revision) return;
    ({ run, revision } = next);
    changes.notify();
  };
  const workUntil = async <T>(
    over: () => boolean,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T | undefined> => {
    const done = new AbortController();
    const halt = new AbortController();
    const watching = changes.until(over, done.signal).then(
      () => halt.abort(),
      () => undefined,
    );
    try {
      const result = await work(AbortSignal.any([signal, halt.signal]));
      return over() ? undefined : result;
    } catch (error) {
      signal.throwIfAborted();
      if (halt.signal.aborted) return undefined;
      throw error;
    } finally {
      done.abort();
      await watching;
    }
  };
  return {
    get run() {
      return run;
    },
    update,
    async running(signal) {
      await changes.until(() => isRunning() || hasEnded(run), signal);
      return isRunning();
    },
    whileRunning: (signal, work) => workUntil(() => !isRunning(), signal, work),
    untilEnded: (signal, work) => workUntil(() => hasEnded(run), signal, work),
    async setState(state, reason) {
      const edit = (stored: Run) =>
        hasEnded(stored) ? undefined : inState(stored, state, reason, wallClockMs());
      update(await store.change(run.runId, edit));
    },
  };
}
