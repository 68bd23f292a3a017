import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { taskNamed, WORD_PROBLEMS, type Population, type Task } from '@parley/evaluation';
import { ParleyError } from '@parley/runtime';
import { DEMO_PEERS } from './demo-models.js';

/** Beside the peers' folders: what they were pretrained for. */
export const POPULATION_FILE = 'population.json';

/** Records task, seed (in decimal digits) and coverage by peer, as JSON. */
export function writePopulationRecord(folder: string, task: Task, { seed, coverages }: Population): void {
  const coverage = Object.fromEntries(DEMO_PEERS.map((peer, i) => [peer, coverages[i]]));
  const record = { task: task.name, seed: seed.toString(), coverage };
  writeFileSync(join(folder, POPULATION_FILE), `${JSON.stringify(record, null, 2)}\n`);
}

/**
 * The task that a folder's peers were pretrained for. Folders without a record are from before there was more than one
 * task, so theirs is the word problems.
 *
 * @throws ParleyError CHECKPOINT_INVALID if the record is no JSON or names no known task
 */
export function taskOfPopulation(folder: string): Task {
  const file = join(folder, POPULATION_FILE);
  if (!existsSync(file)) return WORD_PROBLEMS;
  try {
    const record = JSON.parse(readFileSync(file, 'utf8')) as { task?: unknown } | null;
    return taskNamed(String(record?.task));
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    throw new ParleyError(
      'CHECKPOINT_INVALID',
      `${file}: ${problem}. Train the peers anew with \`parley pretrain\``,
      { details: { file } },
    );
  }
}
