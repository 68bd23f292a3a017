import { readFile } from 'node:fs/promises';
import { ParleyError } from '@parley/runtime';
import { z } from 'zod';
import type { CellResult } from '../cell-result.js';
import { parseResults } from '../study-results.js';

/** JSON has no NaN: a mean of nothing is null. */
const figure = z.number().nullable();
const correctness = z.object({
  accuracy: figure,
  right: z.string().regex(/^[01-]+$/, 'has other characters than 0, 1 and -'),
});
const gap = z.object({ gap: z.number(), auc: figure }).nullable();

/** What a report reads of a cell. */
const cell = z.object({
  population: z.string().min(1),
  task: z.string().regex(/^[a-z0-9-]+$/, 'is no task'),
  row: z.string().min(1),
  title: z.string().min(1),
  seed: z.number(),
  recipe: z.record(z.string(), z.unknown()).nullable(),
  train: z.string(),
  questions: z.number(),
  state: z.string(),
  stateReason: z.string(),
  updates: z.object({
    published: z.number(),
    applied: z.number(),
    items: z.number(),
    optimizerSteps: z.number(),
  }),
  accepted: figure,
  verdicts: z.array(
    z.object({
      round: z.number(),
      peer: z.string(),
      guard: z.string(),
      value: z.number(),
      threshold: z.number(),
      action: z.string(),
    }),
  ),
  peers: z
    .array(
      z.object({
        name: z.string().min(1),
        greedy: correctness,
        sampled: figure,
        majority: figure,
        passAtK: z.record(z.string(), figure),
        gap,
        yesNoGap: gap,
        entropy: figure,
        tokens: figure,
        unparseable: figure,
      }),
    )
    .min(1),
  vote: correctness,
  agreement: figure,
  lastOfSequence: z.array(correctness).optional(),
  seconds: z.object({ train: z.number(), measure: z.number() }),
});

/**
 * Reads the results of a study to report on them; the file stays as it is.
 *
 * @throws ParleyError STUDY_INVALID naming the line and every field of it that is wrong
 */
export async function readCells(path: string): Promise<CellResult[]> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new ParleyError('STUDY_INVALID', `The results ${path} cannot be read: ${String(cause)}`, { cause });
  });
  if (text === '') throw new ParleyError('STUDY_INVALID', `${path} is empty: let the study run first`);
  if (!text.endsWith('\n')) {
    throw new ParleyError(
      'STUDY_INVALID',
      `The last line of ${path} is cut off: let the study go on, which runs its cell again, or remove the line`,
    );
  }
  const cells = parseResults(path, text);
  cells.forEach((one, index) => {
    const parsed = cell.safeParse(one);
    if (parsed.success) return;
    const problems = parsed.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`);
    throw new ParleyError(
      'STUDY_INVALID',
      `${path}, line ${index + 1}: cell ${one.cell} is no sound result; restore the file or remove the line:\n` +
        problems.join('\n'),
    );
  });
  return cells;
}
