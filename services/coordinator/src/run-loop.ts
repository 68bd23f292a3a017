import { RunState } from '@parley/contracts';
import type { PeerHandle, RunEvents, RunFacts } from '@parley/mesh';
import { ParleyError, inSpan, isParleyError } from '@parley/runtime';
import type { Log } from '@parley/runtime';
import type { CoordinatorMetrics } from './coordinator-metrics.js';
import { generateRound } from './generate-round.js';
import type { GeneratedRound, RoundTools } from './generate-round.js';
import type { PeerProgressLog } from './peer-progress-log.js';
import type { PromptFeed } from './prompt-feed.js';
import type { QueuedPrompt } from './round-draft.js';
import { createRoundGuards } from './round-guards.js';
import type { RunJournal } from './run-journal.js';
import type { RunView } from './run-view.js';

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
  const { view, journal, facts, log } = parts;
  const setState = (state: RunState, reason: string) => view.setState(state, reason);
  const { promptsPerRound, maxStaleness, quorum } = facts.recipe.rounds;
  const last = await journal.lastRound();
  const guards = await createRoundGuards(
    { ...parts, recipe: facts.recipe, setState, onVerdict: parts.metrics.verdict },
    last,
  );
  let round = last === undefined ? 0 : Number(last.round) + 1;
  let sequence = last?.lastPromptSequence ?? 0n;

  /** Waits for what the next round needs. No questions: there is no next round, and all updates are applied. */
  const prepare = async (turn: AbortSignal): Promise<QueuedPrompt[]> => {
    parts.enterPhase('apply');
    await applied(parts, round - 1 - maxStaleness, quorum, turn);
    parts.enterPhase('generate');
    const questions = await parts.prompts.take(sequence, round * promptsPerRound, promptsPerRound, turn);
    if (questions.length > 0) return questions;
    parts.enterPhase('apply');
    await applied(parts, round - 1, null, turn);
    return [];
  };

  /** Takes peers back as guards have ruled, a paused run's too: the guard may be what paused it. */
  const takeBack = async (turn: AbortSignal): Promise<void> => {
    parts.enterPhase('apply');
    await applied(parts, round - 1, quorum, turn);
    await guards.rollBack(turn);
  };

  for (;;) {
    if (guards.rollbacks.length > 0) await view.untilEnded(signal, takeBack);
    if (!(await view.running(signal))) return;
    const questions = await view.whileRunning(signal, prepare);
    if (questions === undefined) continue;
    if (questions.length === 0) {
      await view.setState(RunState.COMPLETED, refusals(parts));
      log.info({ rounds: round }, 'run completed');
      return;
    }
    const durable = await inRoundSpan(parts.runId, round, questions, async () => {
      const made = await view.untilEnded(signal, (turn) => ask(parts, round, questions, turn));
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
  { runId, peers, progress }: RunLoopParts,
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

/** What a run that is over did not teach its peers; empty if it taught them everything. */
function refusals({ runId, peers, progress }: RunLoopParts): string {
  const refused = peers.flatMap(({ name }) => progress.of(runId, name).refused);
  if (refused.length === 0) return '';
  const more = refused.length > NAMED_REFUSALS ? `, and ${refused.length - NAMED_REFUSALS} more` : '';
  return `updates that their peers refused were not applied: ${refused.slice(0, NAMED_REFUSALS).join(', ')}${more}`;
}

/** One round, or `undefined` if a peer's weights changed under it and it must be begun again. */
async function ask(
  { runId, facts, peers, tools, progress, log }: RunLoopParts,
  round: number,
  prompts: QueuedPrompt[],
  signal: AbortSignal,
): Promise<GeneratedRound | undefined> {
  const { recipe, seed } = facts;
  const versions = peers.map(({ name }) => progress.latest(name)?.version ?? 0n);
  try {
    return await generateRound({ runId, round, peers, recipe, seed, prompts, versions }, tools, signal);
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
