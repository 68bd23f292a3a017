import { RunState } from '@parley/contracts';
import type { GuardVerdict, ItemFailure, MonitorMeasured } from '@parley/contracts';
import type { PeerHandle, RunEvents, RunFacts } from '@parley/mesh';
import { ParleyError, inSpan, isParleyError } from '@parley/runtime';
import type { Log } from '@parley/runtime';
import type { CoordinatorMetrics } from './coordinator-metrics.js';
import { generateRound } from './generate-round.js';
import type { GeneratedRound, RoundTools } from './generate-round.js';
import { monitorReadings } from './monitor-readings.js';
import type { PeerProgressLog } from './peer-progress-log.js';
import type { PromptFeed } from './prompt-feed.js';
import { refuseClonesAmong } from './refuse-clones.js';
import type { QueuedPrompt } from './round-draft.js';
import { createRoundGuards } from './round-guards.js';
import type { RunJournal } from './run-journal.js';
import { createRunMonitor, leftOut } from './run-monitor.js';
import type { Monitored } from './run-monitor.js';
import type { RunView } from './run-view.js';
import { takeBack } from './take-back.js';
import { createVerdictBook } from './verdict-book.js';

/** What a run is driven with. */
export interface RunLoopParts {
  runId: string;
  facts: RunFacts;
  /** In the order of the run's list. */
  peers: readonly PeerHandle[];
  /** The run as it is stored. */
  view: RunView;
  journal: RunJournal;
  events: RunEvents;
  prompts: PromptFeed;
  progress: PeerProgressLog;
  /** Told what the peers are needed for now. */
  enterPhase: (phase: 'generate' | 'apply') => void;
  /** Told of every round that is durable. */
  progressed: () => void;
  tools: RoundTools;
  metrics: CoordinatorMetrics;
  log: Log;
}

/** Refused updates that a completed run's reason names. */
const NAMED_REFUSALS = 5;

/**
 * Drives one run until it ends, round after round from where the last durable one stopped. Everything it knows it reads
 * from the streams, so that it may be broken off anywhere and begun again, here or elsewhere. A pause takes effect
 * between rounds. A stop drops the round in progress: its peers are free from then on, and one of them may be lost.
 *
 * @throws the signal's reason, or any failure: those of the bus are worth another try
 */
export async function runLoop(parts: RunLoopParts, signal: AbortSignal): Promise<void> {
  const { view, journal, facts, log, peers } = parts;
  const setState = (state: RunState, reason: string) => view.setState(state, reason);
  const { recipe } = facts;
  const { promptsPerRound, maxStaleness, quorum } = recipe.rounds;
  const last = await journal.lastRound();
  const book = createVerdictBook(
    { ...parts, setState, onVerdict: parts.metrics.verdict },
    await journal.verdicts(),
  );
  /** Nobody waits for peers that are left out. */
  const taking = () => {
    const out = leftOut(book.all);
    return peers.filter(({ name }) => !out.has(name));
  };
  const settled = (before: number, least: number | null, turn: AbortSignal) =>
    applied(parts, taking(), before - 1, least, turn);
  const committed = (peer: string, version: bigint) => journal.committed(peer, version);
  const restore = (verdict: GuardVerdict, version: bigint, turn: AbortSignal) =>
    takeBack({ ...parts, committed, setState }, verdict, version, turn);
  const guards = await createRoundGuards({ recipe, peers, journal, book, takeBack: restore }, last);
  const monitor = await createRunMonitor({
    ...parts,
    book,
    settled: (before, turn) => settled(before, quorum, turn),
    takeBack: restore,
    onMeasured: (measured, readings) => reportMonitored(parts, measured, readings),
  });
  let begun = last !== undefined || recipe.guards.allowClones;
  let round = last === undefined ? 0 : Number(last.round) + 1;
  let sequence = last?.lastPromptSequence ?? 0n;

  /** Waits for what the next round needs. No questions: there is no next round, and all updates are applied. */
  const prepare = async (turn: AbortSignal): Promise<QueuedPrompt[]> => {
    parts.enterPhase('apply');
    await settled(round - maxStaleness, quorum, turn);
    parts.enterPhase('generate');
    const questions = await parts.prompts.take(sequence, round * promptsPerRound, promptsPerRound, turn);
    if (questions.length > 0) return questions;
    parts.enterPhase('apply');
    await settled(round, null, turn);
    return [];
  };

  /** Who takes no part in the next round; `undefined` if a peer changed while it was measured. */
  const judge = async (isLast: boolean, turn: AbortSignal) => {
    parts.enterPhase('generate');
    if (!begun) await refuseClonesAmong(peers, quorum, turn);
    begun = true;
    return unlessMoved(parts, round, turn, () => monitor.before(round, isLast, turn));
  };

  /** Takes peers back as guards have ruled, a paused run's too: the guard may be what paused it. */
  const rollBack = async (turn: AbortSignal): Promise<void> => {
    parts.enterPhase('apply');
    await settled(round, quorum, turn);
    await guards.rollBack(turn);
  };

  for (;;) {
    if (guards.rollbacks.length > 0) await view.untilEnded(signal, rollBack);
    if (!(await view.running(signal))) return;
    const questions = await view.whileRunning(signal, prepare);
    if (questions === undefined) continue;
    const isLast = questions.length === 0;
    if (isLast && (await lacksPool(parts, signal))) return;
    const absent = await view.untilEnded(signal, (turn) => judge(isLast, turn));
    if (absent === undefined || view.run.state !== RunState.RUNNING) continue;
    if (isLast) {
      await view.setState(RunState.COMPLETED, [...refusals(parts), ...repetitions(parts)].join('; '));
      log.info({ rounds: round }, 'run completed');
      return;
    }
    const durable = await inRoundSpan(parts.runId, round, questions, async () => {
      const made = await view.untilEnded(signal, (turn) => ask(parts, round, questions, absent, turn));
      if (made === undefined) return undefined;
      await guards.judge(made.generated);
      const published = await journal.publishRound(made.generated);
      log.info({ round, items: published.items.length, seconds: made.generated.seconds }, 'round generated');
      parts.metrics.round(made);
      await report(parts, made);
      return published;
    });
    if (durable === undefined) continue;
    sequence = durable.lastPromptSequence;
    round++;
    parts.progressed();
  }
}

/** Traces that one round links to; the first question's is the one that it continues. */
const MAX_LINKS = 32;

/** One trace leads from a question to the versions that it taught: the round continues that of its first question. */
function inRoundSpan<T>(
  runId: string,
  round: number,
  questions: readonly QueuedPrompt[],
  work: () => Promise<T>,
): Promise<T> {
  const traces = questions.flatMap(({ trace }) => (trace?.['traceparent'] ? [trace] : []));
  const distinct = [...new Map(traces.map((trace) => [trace['traceparent'], trace])).values()];
  const [parent, ...links] = distinct.slice(0, MAX_LINKS + 1);
  const attributes = {
    'parley.run.id': runId,
    'parley.round': round,
    'parley.round.items': questions.length,
  };
  return inSpan('round', { parent, links, attributes }, work);
}

/**
 * Resolves once the peers have settled their update of a round. With a quorum, peers that are lost are not waited for as
 * long as enough others have.
 */
async function applied(
  { runId, progress }: RunLoopParts,
  peers: readonly PeerHandle[],
  round: number,
  quorum: number | null,
  signal: AbortSignal,
): Promise<void> {
  const settled = (peer: PeerHandle) => progress.of(runId, peer.name).settledRound >= round;
  const enough = () => {
    const waiting = peers.filter((peer) => !settled(peer));
    if (waiting.length === 0) return true;
    return (
      quorum !== null &&
      peers.length - waiting.length >= quorum &&
      waiting.every((peer) => !peer.health.available)
    );
  };
  await progress.until(enough, signal);
}

/** Fails a run whose monitor pool takes all of its prompts and more. */
async function lacksPool({ facts, prompts, view }: RunLoopParts, signal: AbortSignal): Promise<boolean> {
  const { questions } = facts.recipe.monitor;
  if (questions === 0) return false;
  const { length } = await prompts.pool(signal);
  if (length >= questions) return false;
  await view.setState(
    RunState.FAILED,
    `the run has ${length} prompts, and its recipe takes the first ${questions} for monitor.questions: none is left to ` +
      'train on; submit more, or take fewer',
  );
  return true;
}

/** How many prompts were not trained on because the monitor pool asks the same. */
function repetitions({ prompts }: RunLoopParts): string[] {
  if (prompts.skipped === 0) return [];
  const what = prompts.skipped === 1 ? 'prompt asks' : 'prompts ask';
  return [`${prompts.skipped} ${what} what the monitor pool asks and took no part`];
}

/** What a run that is over did not teach its peers; empty if it taught them everything. */
function refusals({ runId, peers, progress }: RunLoopParts): string[] {
  const refused = peers.flatMap(({ name }) => progress.of(runId, name).refused);
  if (refused.length === 0) return [];
  const more = refused.length > NAMED_REFUSALS ? `, and ${refused.length - NAMED_REFUSALS} more` : '';
  return [
    `updates that their peers refused were not applied: ${refused.slice(0, NAMED_REFUSALS).join(', ')}${more}`,
  ];
}

/** One round, or `undefined` if a peer's weights changed under it and it must be begun again. */
async function ask(
  parts: RunLoopParts,
  round: number,
  prompts: QueuedPrompt[],
  absent: ReadonlyMap<string, ItemFailure>,
  signal: AbortSignal,
): Promise<GeneratedRound | undefined> {
  const { runId, facts, peers, tools, progress } = parts;
  const { recipe, seed } = facts;
  const versions = peers.map(({ name }) => progress.latest(name)?.version ?? 0n);
  const plan = { runId, round, peers, recipe, seed, prompts, versions, absent };
  return unlessMoved(parts, round, signal, () => generateRound(plan, tools, signal));
}

/** The result of asking peers, or `undefined` if the weights of one changed under it. */
async function unlessMoved<T>(
  { log }: RunLoopParts,
  round: number,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    signal.throwIfAborted();
    if (!isParleyError(error, 'VERSION_MISMATCH')) throw error;
    log.warn({ round, err: error }, 'a peer changed under the round; asking it again');
    return undefined;
  }
}

/** Publishes what the round cost. Nothing depends on it. */
async function report(
  { runId, events, log }: RunLoopParts,
  { generated, loads }: GeneratedRound,
): Promise<void> {
  const round = String(generated.round);
  const seconds = Math.max(generated.seconds, 1e-9);
  try {
    await Promise.all([
      events.metric(runId, 'round_generate_seconds', generated.seconds, { round }),
      ...loads.map((load, peer) => {
        const at = { round, peer: generated.peers[peer].name };
        return events.metric(runId, 'peer_busy_ratio', load.busySeconds / seconds, at);
      }),
    ]);
  } catch (error) {
    log.warn({ err: ParleyError.from(error), round }, 'the metrics of a round were not published');
  }
}

/** Shows and publishes what a measurement says of the peers. Nothing depends on it. */
async function reportMonitored(
  { runId, events, metrics, log }: RunLoopParts,
  { round }: MonitorMeasured,
  readings: readonly Monitored[],
): Promise<void> {
  for (const reading of readings) metrics.monitored(reading);
  try {
    await Promise.all(
      readings.flatMap(({ peer, version, signals }) =>
        monitorReadings(signals).map(({ name, value }) =>
          events.metric(runId, name, value, { peer, version: String(version), round: String(round) }),
        ),
      ),
    );
  } catch (error) {
    log.warn(
      { err: ParleyError.from(error), round: String(round) },
      'the metrics of a measurement were not published',
    );
  }
}
