import { RunState } from '@parley/contracts';
import type { CoordinatorService } from '@parley/contracts';
import { ParleyError } from '@parley/runtime';
import type { Client } from '@parley/runtime';
import type { Cli } from '../cli.js';
import { followRun, stateName } from '../runs/follow-run.js';
import { createRunProgress, roundsOf } from '../runs/run-progress.js';
import { createRun, submitPrompts } from '../runs/submit-run.js';
import type { RunRequest } from '../runs/submit-run.js';
import type { CellResult } from './cell-result.js';

/** What training did, whatever its end. */
export type Training = Pick<
  CellResult,
  'state' | 'stateReason' | 'rounds' | 'updates' | 'accepted' | 'verdicts'
> & { trainSeconds: number };

/** Nothing was trained. */
export const UNTRAINED: Training = {
  state: 'completed',
  stateReason: '',
  rounds: 0,
  updates: { published: 0, applied: 0, items: 0, optimizerSteps: 0 },
  accepted: null,
  verdicts: [],
  trainSeconds: 0,
};

/** Something that happens to the mesh in the middle of a run, between two rounds. */
export interface Interlude {
  /** Rounds before it. */
  afterRounds: number;
  happen: () => Promise<void>;
}

/** Runs a recipe in a mesh that is up, to its end. A run that a guard pauses is stopped: nobody is there to resume it. */
export async function trainCell(
  { terminal, signal }: Pick<Cli, 'terminal' | 'signal'>,
  coordinator: Client<typeof CoordinatorService>,
  request: RunRequest,
  interlude?: Interlude,
): Promise<Training> {
  const started = performance.now();
  const { runId, recipe, prompts, peers } = request;
  // The monitor pool comes first, and is of no round.
  const before = interlude
    ? recipe.monitor.questions + interlude.afterRounds * recipe.rounds.promptsPerRound
    : prompts.length;
  try {
    await createRun(coordinator, request, signal);
  } catch (error) {
    const { reason, message } = ParleyError.from(error);
    if (reason !== 'PEERS_ALIKE') throw error;
    return { ...UNTRAINED, state: 'refused', stateReason: message };
  }
  await submitPrompts(
    coordinator,
    { runId, prompts: prompts.slice(0, before), more: before < prompts.length },
    signal,
  );
  const progress = createRunProgress(terminal, roundsOf(prompts.length, recipe) * peers.length);
  const asides: Promise<unknown>[] = [];
  let paused = false;
  let happened = before >= prompts.length;
  const goOn = async (): Promise<void> => {
    await interlude?.happen();
    await submitPrompts(coordinator, { runId, prompts: prompts.slice(before) }, signal);
  };
  const failed = new AbortController();
  const aside = (work: Promise<unknown>) => asides.push(work.catch((error: unknown) => failed.abort(error)));
  try {
    const run = await followRun({
      client: coordinator,
      runId,
      signal: AbortSignal.any([signal, failed.signal]),
      onEvent: (event) => {
        progress.add(event);
        if (!happened && progress.recorder.updatesApplied() >= interlude!.afterRounds * peers.length) {
          happened = true;
          aside(goOn());
        }
        if (event.case === 'run' && event.value.state === RunState.PAUSED && !paused) {
          paused = true;
          aside(coordinator.stopRun({ runId }, { signal }));
        }
      },
    });
    await Promise.all(asides);
    const { rounds, guardVerdicts } = progress.recorder.history();
    const updates = rounds.flatMap((round) => Object.values(round.updates));
    const questions = rounds.reduce((sum, round) => sum + round.questions, 0);
    return {
      state: stateName(run.state),
      stateReason: run.stateReason,
      rounds: rounds.length,
      updates: {
        published: Number(run.progress?.updatesPublished ?? 0n),
        applied: Number(run.progress?.updatesApplied ?? 0n),
        items: updates.reduce((sum, { items }) => sum + items, 0),
        optimizerSteps: updates.reduce((sum, { steps }) => sum + steps, 0),
      },
      accepted: questions === 0 ? null : rounds.reduce((sum, { accepted }) => sum + accepted, 0) / questions,
      verdicts: guardVerdicts,
      trainSeconds: (performance.now() - started) / 1000,
    };
  } finally {
    progress.close();
  }
}
