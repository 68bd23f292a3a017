import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Run, RoundSummary, WatchRunResponseSchema } from '@parley/contracts';
import { createAsyncQueue } from './async-queue.js';
import type { MeshEvent, MeshFeed } from './mesh-feed.js';
import { summarizeGenerated, summarizeScored } from './round-summary.js';
import { hasEnded } from './run-state.js';

type Update = MessageInitShape<typeof WatchRunResponseSchema>;

/** What watching needs. */
export interface WatchParts {
  feed: MeshFeed;
  /** Told of every change of a stored run, until the returned function is called. */
  listenRuns: (listener: (run: Run) => void) => () => void;
  /** The run with its progress. @throws ParleyError RUN_UNKNOWN */
  load: (runId: string) => Promise<Run>;
  /** The run with its progress, from what is stored. */
  complete: (run: Run) => Promise<Run>;
  /** The summary of a round that was generated before watching began. */
  summary: (runId: string, round: bigint) => Promise<RoundSummary | undefined>;
}

/**
 * A run as it proceeds: first as it is, then all that happens, until it ends. Listening begins before the run is read,
 * so that nothing falls between; what happens meanwhile may therefore be told twice.
 */
export async function* watchRun(
  parts: WatchParts,
  runId: string,
  signal: AbortSignal,
): AsyncGenerator<Update> {
  const queue = createAsyncQueue<MeshEvent | { case: 'run'; value: Run }>();
  const stopFeed = parts.feed.listen((event) => {
    if (event.case === 'committed' || event.value.runId === runId) queue.push(event);
  });
  const stopRuns = parts.listenRuns((run) => {
    if (run.runId === runId) queue.push({ case: 'run', value: run });
  });
  const summaries = new Map<bigint, RoundSummary>();
  const toUpdate = async (event: MeshEvent, peers: readonly string[]): Promise<Update[]> => {
    switch (event.case) {
      case 'generated': {
        const value = summarizeGenerated(event.value);
        summaries.set(value.round, value);
        return [{ event: { case: 'roundGenerated', value } }];
      }
      case 'scored': {
        const { round } = event.value;
        const generated = summaries.get(round) ?? (await parts.summary(runId, round));
        if (generated === undefined) return [];
        return [{ event: { case: 'roundScored', value: summarizeScored(generated, event.value) } }];
      }
      case 'committed': {
        const { peer, cause } = event.value;
        const ours = cause.case === 'update' ? cause.value.runId === runId : peers.includes(peer);
        return ours ? [{ event: { case: 'versionCommitted', value: event.value } }] : [];
      }
      case 'guard':
        return [{ event: { case: 'guardVerdict', value: event.value } }];
      case 'peer':
        return [{ event: { case: 'peerAvailability', value: event.value } }];
      case 'rejected':
        return [{ event: { case: 'updateRejected', value: event.value } }];
    }
  };
  try {
    let run = await parts.load(runId);
    yield { event: { case: 'run', value: run } };
    const peers = run.spec?.peers ?? [];
    while (!hasEnded(run)) {
      const event = await queue.take(signal);
      if (event.case !== 'run') {
        yield* await toUpdate(event, peers);
        continue;
      }
      if (hasEnded(event.value)) {
        // The streams are read one by one: what became durable before the end may still be on its way.
        await parts.feed.settled(signal);
        for (const late of queue.rest()) if (late.case !== 'run') yield* await toUpdate(late, peers);
      }
      run = await parts.complete(event.value);
      yield { event: { case: 'run', value: run } };
    }
  } finally {
    stopFeed();
    stopRuns();
  }
}
