import { RunState } from '@parley/contracts';
import type { CoordinatorService } from '@parley/contracts';
import type { Client } from '@parley/runtime';
import type { Cli } from '../cli.js';
import { followRun, stateName } from '../runs/follow-run.js';
import { createRunProgress, roundsOf } from '../runs/run-progress.js';
import { submitRun } from '../runs/submit-run.js';
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

/** Runs a recipe in a mesh that is up, to its end. A run that a guard pauses is stopped: nobody is there to resume it. */
export async function trainCell(
  { terminal, signal }: Pick<Cli, 'terminal' | 'signal'>,
  coordinator: Client<typeof CoordinatorService>,
  request: RunRequest,
): Promise<Training> {
  const started = performance.now();
  await submitRun(coordinator, request, signal);
  const { runId, recipe, prompts, peers } = request;
  const progress = createRunProgress(terminal, roundsOf(prompts.length, recipe) * peers.length);
  const stopping: Promise<unknown>[] = [];
  try {
    const run = await followRun({
      client: coordinator,
      runId,
      signal,
      onEvent: (event) => {
        progress.add(event);
        if (event.case === 'run' && event.value.state === RunState.PAUSED && stopping.length === 0) {
          stopping.push(coordinator.stopRun({ runId }, { signal }));
        }
      },
    });
    await Promise.all(stopping);
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
