import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { LISTENING_PARTS, TASKS } from '@parley/evaluation';
import { mergeFields, resolveRecipe } from '@parley/pst';
import type { Recipe } from '@parley/pst';
import { ParleyError, sha256 } from '@parley/runtime';
import { z } from 'zod';

const name = z.string().regex(/^[a-z0-9][a-z0-9.-]*$/, 'is no name: lower-case letters, digits, "." and "-"');
/** Peers of a population. */
export const PEERS = 3;

const count = z.int().min(1);
const task = z.enum(TASKS.map((one) => one.name));

const population = z.strictObject({
  name,
  task: task.default(TASKS[0].name),
  /** Of weak spots, weights and data; the same seed gives the same peers on the same kind of machine. */
  seed: z.int().min(0),
  steps: count.optional(),
  listeningSteps: count.optional(),
  /** What their listening phase does without. */
  listeningWithout: z.enum(LISTENING_PARTS).optional(),
});

const row = z.strictObject({
  name,
  title: z.string().min(1),
  /** What differs from a preset; see docs/recipes.md. */
  recipe: z.record(z.string(), z.unknown()),
  /** As `parley run --train`. */
  train: z
    .string()
    .regex(/^(full|lora:[1-9]\d{0,3}(:\d+(\.\d+)?)?)$/, 'must be full, or lora:<rank>[:<alpha>]')
    .default('full'),
  /** `clones`: three copies of one peer of the population instead of its three peers. */
  peers: z.enum(['population', 'clones']).default('population'),
  /** `oracle`: the recipe's training settings on the right solutions, as nobody has them outside a study. */
  labels: z.enum(['none', 'oracle']).default('none'),
  /** Turns one peer bad in the middle of the run. */
  sabotage: z
    .strictObject({
      peer: z
        .int()
        .min(0)
        .max(PEERS - 1),
      afterRounds: count,
      kind: z.enum(['confused', 'liar', 'repeater']),
    })
    .optional(),
  /** Unlabelled questions; unless given, the study's. */
  questions: count.optional(),
  /** Runs on these populations only, unless all. */
  populations: z.array(name).min(1).optional(),
  /** Runs with these seeds only, unless all. */
  seeds: z.array(z.int().min(0)).min(1).optional(),
});

const spec = z.strictObject({
  format: z.literal('parley.study/1'),
  title: z.string().min(1),
  populations: z.array(population).min(1),
  rows: z.array(row),
  /** Of questions and runs. */
  seeds: z.array(z.int().min(0)).min(1),
  /** Unlabelled questions of a cell. */
  questions: count,
  measure: z.strictObject({
    /** Held-out questions, the same for every cell of a population. */
    heldOut: count,
    /** How many of them are also sampled. */
    sampled: count,
    samples: count,
    temperature: z.number().positive(),
    seed: z.int().min(0),
  }),
  /** What every row's recipe starts from. */
  recipe: z.record(z.string(), z.unknown()).default({}),
});

/** A row of the study, its recipe complete. */
export interface StudyRow extends Omit<z.infer<typeof row>, 'recipe'> {
  recipe: Recipe;
}

/** A study: populations × rows × seeds. Plain JSON. */
export interface StudySpec extends Omit<z.infer<typeof spec>, 'rows' | 'recipe'> {
  rows: StudyRow[];
}

/** Three peers of a study. */
export type StudyPopulation = StudySpec['populations'][number];

/**
 * Reads the specification of a study.
 *
 * @throws ParleyError STUDY_INVALID listing every problem by its path: fields that are unknown, missing or of the wrong type,
 *   names that occur twice or are not there, and recipes that cannot run
 */
export async function readStudySpec(file: string, cwd: string): Promise<{ spec: StudySpec; sha256: string }> {
  const path = resolve(cwd, file);
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new ParleyError('STUDY_INVALID', `The study ${path} cannot be read: ${String(cause)}`, { cause });
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ParleyError('STUDY_INVALID', `The study ${path} is not valid JSON: ${String(cause)}`, {
      cause,
    });
  }
  const parsed = spec.safeParse(value);
  if (!parsed.success) throw invalid(path, parsed.error.issues.map(describeIssue));
  const { rows, recipe: common, ...rest } = parsed.data;
  const problems = [
    ...repeated('populations', rest.populations),
    ...repeated('rows', rows),
    ...rows.flatMap((one, i) => unknownNames(one, i, parsed.data)),
  ];
  const complete = rows.map((one, i): StudyRow => {
    const resolved = resolveRecipe(mergeFields(common, one.recipe), { peers: PEERS });
    if (resolved.ok) {
      const row = { ...one, recipe: resolved.recipe };
      problems.push(
        ...tooFewQuestions(row, row.questions ?? rest.questions).map((why) => `rows.${i}.${why}`),
      );
      return row;
    }
    problems.push(...resolved.problems.map(({ path: at, message }) => `rows.${i}.recipe.${at} ${message}`));
    return { ...one, recipe: undefined as never };
  });
  if (problems.length > 0) throw invalid(path, problems);
  return { spec: { ...rest, rows: complete }, sha256: sha256(text) };
}

function describeIssue({ path, message }: { path: readonly PropertyKey[]; message: string }): string {
  return `${path.map(String).join('.') || '(the whole)'}: ${message}`;
}

function repeated(list: string, named: readonly { name: string }[]): string[] {
  const seen = new Set<string>();
  return named.flatMap(({ name }, i) => {
    if (!seen.has(name)) {
      seen.add(name);
      return [];
    }
    return [`${list}.${i}.name: "${name}" is used twice`];
  });
}

function unknownNames(one: z.infer<typeof row>, i: number, whole: z.infer<typeof spec>): string[] {
  const populations = (one.populations ?? []).filter((wanted) =>
    whole.populations.every(({ name }) => name !== wanted),
  );
  const seeds = (one.seeds ?? []).filter((wanted) => !whole.seeds.includes(wanted));
  return [
    ...populations.map((wanted) => `rows.${i}.populations: there is no population "${wanted}"`),
    ...seeds.map((wanted) => `rows.${i}.seeds: ${wanted} is no seed of the study`),
  ];
}

/** A run without a round, and a peer that would never turn bad, are no cells. */
function tooFewQuestions({ recipe, sabotage, labels }: StudyRow, questions: number): string[] {
  const pool = labels === 'oracle' ? 0 : recipe.monitor.questions;
  if (questions <= pool) return [`questions: the monitor pool takes the first ${pool} of ${questions}`];
  const before = pool + (sabotage?.afterRounds ?? 0) * recipe.rounds.promptsPerRound;
  if (questions > before) return [];
  return [`sabotage.afterRounds: no round is left after ${before} of ${questions} questions`];
}

function invalid(path: string, problems: readonly string[]): ParleyError {
  return new ParleyError(
    'STUDY_INVALID',
    `The study ${path} cannot run:\n${problems.map((problem) => `  ${problem}`).join('\n')}`,
  );
}
