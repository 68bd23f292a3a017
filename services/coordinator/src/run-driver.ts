import { acquireLease } from '@parley/bus';
import type { BlobReader, Bus, Publisher } from '@parley/bus';
import { RunState } from '@parley/contracts';
import { runFacts } from '@parley/mesh';
import type { PeerPool, RunEvents } from '@parley/mesh';
import { ParleyError, backoffMs, pause } from '@parley/runtime';
import type { Log, Reason } from '@parley/runtime';
import type { CoordinatorMetrics } from './coordinator-metrics.js';
import type { RoundTools } from './generate-round.js';
import type { PeerProgressLog } from './peer-progress-log.js';
import { createPromptFeed } from './prompt-feed.js';
import { createRunJournal } from './run-journal.js';
import { runLoop } from './run-loop.js';
import { hasEnded } from './run-state.js';
import type { RunView } from './run-view.js';

/** What drivers of all runs share. */
export interface DriverParts {
  bus: Bus;
  blobs: BlobReader;
  publisher: Publisher;
  events: RunEvents;
  pool: PeerPool;
  progress: PeerProgressLog;
  tools: RoundTools;
  /** Name of this process, unique a start. */
  holder: string;
  metrics: CoordinatorMetrics;
  log: Log;
}

/** Failures in a row, with no round in between and not for something that is away, after which a run is given up. */
const MAX_FAILURES = 3;
/** Nobody is at fault; it passes, or somebody makes room. */
const PASSING: ReadonlySet<string> = new Set<Reason>(['LEASE_LOST', 'CANCELLED', 'DISK_FULL']);

/**
 * Drives one run until it ends or the signal is aborted: takes the run's lease, works under it, and begins again when
 * the lease or the bus was lost. Any number of coordinators may drive the same run; one at a time does.
 */
export async function driveRun(parts: DriverParts, view: RunView, signal: AbortSignal): Promise<void> {
  const { runId } = view.run;
  const log = parts.log.child({ run: runId });
  for (let failures = 0; !hasEnded(view.run) && !signal.aborted;) {
    try {
      await using lease = await acquireLease(parts.bus, {
        key: `coordinator.${runId}`,
        holder: parts.holder,
        waitMs: Infinity,
        signal,
      });
      log.info({ fencingToken: lease.fencingToken }, 'driving the run');
      const progressed = () => (failures = 0);
      await underLease({ ...parts, log }, view, AbortSignal.any([signal, lease.signal]), progressed);
    } catch (thrown) {
      if (signal.aborted) return;
      const error = ParleyError.from(thrown);
      const passing = error.code === 'UNAVAILABLE' || PASSING.has(error.reason);
      if (!passing && ++failures >= MAX_FAILURES) {
        log.error({ err: thrown }, 'the run failed');
        await view.setState(RunState.FAILED, error.message);
        return;
      }
      log.warn({ err: thrown }, 'driving the run was interrupted; beginning again');
      await pause(backoffMs(failures + 1, { baseMs: 200, maxMs: 5000 }), signal);
    }
  }
}

async function underLease(
  parts: DriverParts,
  view: RunView,
  leaseSignal: AbortSignal,
  progressed: () => void,
): Promise<void> {
  const { bus, blobs, publisher, events, pool, progress, tools, metrics, log } = parts;
  const { runId } = view.run;
  const broken = new AbortController();
  const signal = AbortSignal.any([leaseSignal, broken.signal]);
  const facts = runFacts(view.run);
  const peers = facts.peers.map((name) => pool.peer(name));
  const poolSize = facts.recipe.monitor.questions;
  const prompts = createPromptFeed(bus, blobs, runId, poolSize, signal, (error) => broken.abort(error));
  const removeQueue = metrics.addQueue(() => prompts.waiting);
  let phase = 'apply';
  const unwatch = peers.map((peer) =>
    peer.watch((health) => {
      progress.notify();
      log.warn(
        { peer: peer.name, phase, ...(health.available ? {} : { cause: health.cause.message }) },
        health.available ? 'a peer is back' : 'a peer is lost',
      );
      events.peer(runId, peer.name, phase, health).catch((error: unknown) => {
        log.warn({ err: error, peer: peer.name }, 'a change of availability was not published');
      });
    }),
  );
  try {
    await runLoop(
      {
        runId,
        facts,
        peers,
        view,
        journal: createRunJournal(bus, blobs, publisher, runId),
        events,
        prompts,
        progress,
        enterPhase: (next) => (phase = next),
        progressed,
        tools,
        metrics,
        log,
      },
      signal,
    );
  } finally {
    broken.abort(new ParleyError('CANCELLED', 'the run is driven no longer'));
    unwatch.forEach((stop) => stop());
    removeQueue();
  }
}
