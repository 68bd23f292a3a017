import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { systemCode, writeFileAtomic } from '@parley/runtime';
import { readPrompts } from '../input/prompts-file.js';
import type { PromptLine } from '../input/prompts-file.js';
import type { Prompt } from './submit-run.js';

/** The file beside a run's record that holds its questions. */
const FILE = 'questions.jsonl';

/** Writes the questions of a run into its folder, so that a later evaluation can tell what was trained on. */
export async function writeRunQuestions(folder: string, prompts: readonly Prompt[]): Promise<void> {
  const lines = prompts.map(({ promptId, question }) => JSON.stringify({ id: promptId, question }));
  await writeFileAtomic(join(folder, FILE), `${lines.join('\n')}\n`);
}

/** The questions of a run, or undefined if its folder holds none, as of runs before they were written. */
export async function readRunQuestions(folder: string): Promise<PromptLine[] | undefined> {
  const path = join(folder, FILE);
  try {
    await access(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  return readPrompts(path, Readable.from([]));
}
