import { STREAMS, natsBlobs, peerBlobStore, readLast, subjects } from '@parley/bus';
import type { BlobReader, Bus, KvTable, Publisher } from '@parley/bus';
import { RoundScoredSchema, WeightedUpdateSchema } from '@parley/contracts';
import type { RoundGenerated, RoundScored, RunSchema } from '@parley/contracts';
import { readVerdicts, runFacts, stoppedBy } from '@parley/mesh';
import type { RunEvents } from '@parley/mesh';
import { ParleyError } from '@parley/runtime';
import type { Log } from '@parley/runtime';
import { buildUpdates } from './build-updates.js';
import { measureScores } from './pmi-metrics.js';
import type { PmiMetrics } from './pmi-metrics.js';
import { scoreRound } from './score-round.js';
import type { ScoringTask, ScoringTools } from './score-round.js';

/** What settling needs. */
export interface SettleParts {
  bus: Bus;
  blobs: BlobReader;
  publisher: Publisher;
  events: RunEvents;
  runs: KvTable<typeof RunSchema>;
  tools: ScoringTools;
  metrics: PmiMetrics;
  log: Log;
}

/**
 * Turns a generated round into durable scores and updates. Every step is published once and may be repeated: scores that
 * are there already are read, because the peers may have moved on since they were taken.
 *
 * @throws ParleyError BUS_UNAVAILABLE if the round before has not been settled yet (come back later), RUN_UNKNOWN, or
 *   what scoring throws
 */
export async function settleRound(
  parts: SettleParts,
  round: RoundGenerated,
  signal: AbortSignal,
): Promise<void> {
  const { bus, publisher, events, metrics, log } = parts;
  const { runId } = round;
  const task = await scoringTask(parts, round);
  const stored = await readScores(parts, runId, round.round);
  const scored = stored ?? (await publishScores(parts, await watched(parts, task, signal)));
  for (const update of buildUpdates(task, scored)) {
    const subject = subjects.update(update.peer, runId, round.round);
    // What is too large for a message goes where its peer, and no other, may read it.
    const blobs = natsBlobs(bus, { store: peerBlobStore(update.peer) });
    const options = { subject, id: update.updateId, blobs };
    const { duplicate } = await publisher.publishOnce(WeightedUpdateSchema, update, options);
    if (!duplicate) metrics.updates.inc({ peer: update.peer });
  }
  log.info(
    { run: runId, round: String(round.round), seconds: scored.seconds, repeated: !!stored },
    'round settled',
  );
  if (stored === undefined) {
    measureScores(metrics, scored);
    const at = { round: String(round.round) };
    await events.metric(runId, 'round_score_seconds', scored.seconds, at).catch((error: unknown) => {
      log.warn({ err: error }, 'the metric of a round was not published');
    });
  }
}

async function scoringTask(parts: SettleParts, round: RoundGenerated): Promise<ScoringTask> {
  const { bus, blobs, runs } = parts;
  const { runId } = round;
  const run = (await runs.get(runId))?.value;
  if (run === undefined) {
    throw new ParleyError(
      'RUN_UNKNOWN',
      `Round ${round.round} belongs to run ${runId}, which does not exist`,
    );
  }
  const { recipe, seed } = runFacts(run);
  const first = round.round === 0n;
  if (!first && !(await isSettled(parts, round))) {
    throw new ParleyError(
      'BUS_UNAVAILABLE',
      `Round ${round.round} of run ${runId} waits for the round before, whose updates are not published yet`,
    );
  }
  const verdicts = await readVerdicts(bus, blobs, runId);
  return {
    round,
    recipe,
    seed,
    stopped: stoppedBy(verdicts.filter((verdict) => verdict.round <= round.round)),
    previous: first ? undefined : await readScores(parts, runId, round.round - 1n),
  };
}

/** Updates are published in the order of the peers, and those of one run in the order of its rounds. */
async function isSettled(
  { bus, blobs }: SettleParts,
  { runId, round, peers }: RoundGenerated,
): Promise<boolean> {
  const subject = subjects.update(peers.at(-1)!.name, runId, round - 1n);
  const options = { stream: STREAMS.updates, schema: WeightedUpdateSchema, blobs, subject };
  return (await readLast(bus, options)) !== undefined;
}

async function readScores(
  { bus, blobs }: SettleParts,
  runId: string,
  round: bigint,
): Promise<RoundScored | undefined> {
  const subject = subjects.scored(runId, round);
  return (await readLast(bus, { stream: STREAMS.rounds, schema: RoundScoredSchema, blobs, subject }))
    ?.message;
}

/** Publishes scores; returns the durable ones, which another scorer may have been first to publish. */
async function publishScores(parts: SettleParts, scored: RoundScored): Promise<RoundScored> {
  const { runId, round } = scored;
  const options = { subject: subjects.scored(runId, round), id: `${runId}/${round}/scored` };
  const { duplicate } = await parts.publisher.publishOnce(RoundScoredSchema, scored, options);
  return duplicate ? ((await readScores(parts, runId, round)) ?? scored) : scored;
}

/** Scores, and names the peers that are lost or back meanwhile. */
async function watched(
  { tools, events, log }: SettleParts,
  task: ScoringTask,
  signal: AbortSignal,
): Promise<RoundScored> {
  const { runId, peers } = task.round;
  const unwatch = peers.map(({ name }) =>
    tools.peer(name).watch((health) => {
      const what = health.available ? 'a peer is back' : 'a peer is lost';
      log.warn(
        { run: runId, peer: name, phase: 'score', ...(!health.available && { cause: health.cause.message }) },
        what,
      );
      events.peer(runId, name, 'score', health).catch((error: unknown) => {
        log.warn({ err: error, peer: name }, 'a change of availability was not published');
      });
    }),
  );
  try {
    return await scoreRound(task, tools, signal);
  } finally {
    unwatch.forEach((stop) => stop());
  }
}
