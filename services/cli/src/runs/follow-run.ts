import { RunState } from '@parley/contracts';
import type { CoordinatorService, Run, WatchRunResponse } from '@parley/contracts';
import { ParleyError, backoffMs, isRetryable, sleep } from '@parley/runtime';
import type { Client } from '@parley/runtime';

/** Something that happened in a run. */
export type RunEvent = WatchRunResponse['event'];

/** How a run is followed. */
export interface FollowOptions {
  client: Pick<Client<typeof CoordinatorService>, 'watchRun' | 'getRun'>;
  runId: string;
  signal: AbortSignal;
  /** Told of every event; after a reconnection the same event may come again. */
  onEvent: (event: RunEvent) => void;
  /** Told once an outage, when the stream broke and is about to be opened again. */
  onReconnect?: (error: ParleyError) => void;
  /** How long to go on asking without an answer: before the first one, and after it. */
  patienceMs?: { first: number; later: number };
}

const PATIENCE_MS = { first: 3000, later: 60_000 };
/** gRPC calls have deadlines; a watch that outlives this one is simply opened again. */
const STREAM_DEADLINE_MS = 6 * 3600 * 1000;

/**
 * Follows a run to its end, across restarts of the coordinator. @returns the run as it ended
 *
 * @throws ParleyError RUN_UNKNOWN, or what the coordinator says once it has not answered for too long
 */
export async function followRun(options: FollowOptions): Promise<Run> {
  const { client, runId, signal, onEvent, onReconnect, patienceMs = PATIENCE_MS } = options;
  let unansweredSinceMs: number | undefined;
  let limitMs = patienceMs.first;
  for (let attempt = 1; ; attempt++) {
    try {
      for await (const { event } of client.watchRun({ runId }, { signal, deadlineMs: STREAM_DEADLINE_MS })) {
        unansweredSinceMs = undefined;
        limitMs = patienceMs.later;
        attempt = 1;
        onEvent(event);
      }
      const { run } = await client.getRun({ runId }, { signal });
      unansweredSinceMs = undefined;
      if (run && hasEnded(run)) return run;
    } catch (thrown) {
      signal.throwIfAborted();
      const error = ParleyError.from(thrown);
      // A stream may be silent for as long as a round takes: only from its end on nobody answers.
      unansweredSinceMs ??= performance.now();
      if (!isRetryable(error) || performance.now() - unansweredSinceMs > limitMs) throw error;
      if (attempt === 1) onReconnect?.(error);
    }
    await sleep(backoffMs(attempt, { baseMs: 200, maxMs: 2000 }), signal);
  }
}

/** Whether nothing more will happen in a run. */
export function hasEnded({ state }: Run): boolean {
  return state === RunState.COMPLETED || state === RunState.STOPPED || state === RunState.FAILED;
}

/** `running`, `completed`, …: the state in a word. */
export function stateName(state: RunState): string {
  return (RunState[state] ?? 'unknown').toLowerCase();
}
