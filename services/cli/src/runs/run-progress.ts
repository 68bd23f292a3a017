import type { Recipe } from '@parley/pst';
import type { Terminal } from '../output/terminal.js';
import { describeEvent } from './describe-event.js';
import type { RunEvent } from './follow-run.js';
import { createRunRecorder } from './run-recorder.js';
import type { RunRecorder } from './run-recorder.js';

/** Shows a run's events as they come and keeps them for the record. */
export interface RunProgress {
  readonly recorder: RunRecorder;
  add(event: RunEvent): void;
  /** The end, good or bad. */
  close(): void;
}

/** Rounds that a number of questions makes, without those of the monitor pool. */
export function roundsOf(prompts: number, recipe: Recipe): number {
  const trained = Math.max(0, prompts - recipe.monitor.questions);
  return Math.ceil(trained / recipe.rounds.promptsPerRound);
}

/** Progress in updates: one a round and peer. @param total - updates to come; undefined if nobody knows */
export function createRunProgress(terminal: Terminal, total: number | undefined): RunProgress {
  const recorder = createRunRecorder();
  const progress = terminal.progress({ label: 'Training', total, unit: 'updates' });
  return {
    recorder,
    add(event) {
      const before = recorder.updatesApplied();
      if (!recorder.add(event)) return;
      terminal.line(`  ${describeEvent(event)}`);
      const applied = recorder.updatesApplied() - before;
      if (applied > 0) progress.advance(applied);
    },
    close: () => progress.done(),
  };
}
