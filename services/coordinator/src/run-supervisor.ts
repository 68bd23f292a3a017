import { driveRun } from './run-driver.js';
import type { DriverParts } from './run-driver.js';
import { hasEnded } from './run-state.js';
import type { RunStore } from './run-store.js';
import { createRunView } from './run-view.js';
import type { RunView } from './run-view.js';

/** Drives every active run of the store. */
export interface RunSupervisor {
  /** Breaks every run off where it is and gives the leases up. Idempotent. */
  stop(): Promise<void>;
}

/** What the supervisor needs beside what its drivers do. */
export interface SupervisorParts extends DriverParts {
  store: RunStore;
  /** Milliseconds since the epoch. */
  wallClockMs: () => number;
  /** Told of every run as it is stored, and of every change. */
  seen: (view: RunView) => void;
  /** Told if watching the store ends for another cause than `stop`. */
  fail: (error: unknown) => void;
}

export function superviseRuns(parts: SupervisorParts): RunSupervisor {
  const { store, wallClockMs, seen, fail } = parts;
  const stopping = new AbortController();
  const views = new Map<string, RunView>();
  const driving = new Set<Promise<void>>();

  const drive = (view: RunView): void => {
    const task = driveRun(parts, view, stopping.signal)
      .catch((error: unknown) => {
        if (!stopping.signal.aborted) fail(error);
      })
      .finally(() => driving.delete(task));
    driving.add(task);
  };
  const watch = async (): Promise<void> => {
    for await (const stored of store.watch(stopping.signal)) {
      const known = views.get(stored.run.runId);
      const view = known ?? createRunView(stored, store, wallClockMs);
      view.update(stored);
      if (hasEnded(view.run)) views.delete(view.run.runId);
      else views.set(view.run.runId, view);
      if (known === undefined && !hasEnded(view.run)) drive(view);
      seen(view);
    }
  };
  const watching = watch().catch((error: unknown) => {
    if (!stopping.signal.aborted) fail(error);
  });
  return {
    async stop() {
      stopping.abort();
      await Promise.all([watching, ...driving]);
    },
  };
}
