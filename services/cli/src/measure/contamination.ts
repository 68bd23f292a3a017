import { basename, join } from 'node:path';
import type { Readable } from 'node:stream';
import { existsSync } from 'node:fs';
import { trainedOn } from '@parley/evaluation';
import type { LabelledQuestion } from '@parley/evaluation';
import { ParleyError } from '@parley/runtime';
import type { PeerOption } from '../input/peer-option.js';
import { readPrompts } from '../input/prompts-file.js';
import { inputName } from '../input/text-lines.js';
import type { StateFolder } from '../mesh/state-folder.js';
import { plural } from '../output/format.js';
import { readRunQuestions } from '../runs/run-questions.js';
import { storedRecords } from '../runs/stored-records.js';

/** What is known of the questions that the peers were trained on, in a result. */
export interface Contamination {
  /** Ids of the measured questions that were trained on too. */
  ids: string[];
  /** What the questions were compared with. */
  comparedWith: { source: string; prompts: number }[];
  /** Peers of which it is not known what they were trained on, and why. */
  notChecked: { peer: string; why: string }[];
}

/** Prompts that the peers were trained on. */
export interface TrainingPrompts {
  sources: { source: string; prompts: string[] }[];
  /** By peer of the mesh that is up here: the runs that trained it, by their records. */
  runs: ReadonlyMap<string, KnownRun[]>;
}

/** A run that trained a peer. */
interface KnownRun {
  runId: string;
  /** How many versions of the peer it made. */
  versions: number;
  /** Whether its questions are known. */
  hasQuestions: boolean;
}

/** Ids that an error lists. */
const MAX_LISTED = 5;

/**
 * Reads what the peers were trained on: the files that are named, and for peers of the mesh that is up here the questions of
 * the runs recorded in its state folder.
 *
 * @throws ParleyError PROMPT_FILE_INVALID
 */
export async function readTrainingPrompts(
  files: readonly string[],
  peers: readonly PeerOption[],
  { stdin, state }: { stdin: Readable; state: StateFolder },
): Promise<TrainingPrompts> {
  const sources: TrainingPrompts['sources'] = [];
  for (const file of files) {
    const prompts = await readPrompts(file, stdin);
    sources.push({
      source: file === '-' ? inputName(file) : basename(file),
      prompts: prompts.map(({ question }) => question),
    });
  }
  const names = peers.filter(({ kind }) => kind === 'name').map(({ name }) => name);
  const runs = new Map<string, KnownRun[]>(names.map((name) => [name, []]));
  const records = names.length === 0 ? [] : await storedRecords(state);
  for (const { runId, peers: trained } of records) {
    const folder = state.run(runId);
    // A run with a mesh of its own trained other peers, whatever their names.
    if (existsSync(join(folder, 'mesh'))) continue;
    const concerned = trained.filter(({ name }) => runs.has(name));
    if (concerned.length === 0) continue;
    const prompts = await readRunQuestions(folder);
    if (prompts) sources.push({ source: `run ${runId}`, prompts: prompts.map(({ question }) => question) });
    for (const { name, firstVersion, lastVersion } of concerned) {
      const hasQuestions = prompts !== undefined;
      runs.get(name)?.push({ runId, versions: lastVersion - firstVersion, hasQuestions });
    }
  }
  return { sources, runs };
}

/**
 * Compares the questions with what was trained on.
 *
 * @param templates - prompts around `{question}` in which a question may have been trained on
 * @throws ParleyError CONTAMINATED naming how many questions were trained on, and the first of them, unless that is allowed
 */
export function checkContamination(
  questions: readonly LabelledQuestion[],
  { sources }: TrainingPrompts,
  { templates, allow }: { templates: readonly string[]; allow: boolean },
): string[] {
  const prompts = sources.flatMap((one) => one.prompts);
  const ids = trainedOn(questions, prompts, templates);
  if (ids.length === 0 || allow) return ids;
  const first = ids.slice(0, MAX_LISTED).join(', ');
  const more = ids.length > MAX_LISTED ? `, and ${ids.length - MAX_LISTED} more` : '';
  throw new ParleyError(
    'CONTAMINATED',
    `${ids.length} of ${plural(questions.length, 'question')} ${ids.length === 1 ? 'is' : 'are'} among the training ` +
      `prompts of ${sources.map(({ source }) => source).join(', ')}: ${first}${more}. Leave them out of the file, or ` +
      'declare it with --allow-contamination, which the result then says',
    { details: { questions: String(ids.length), first } },
  );
}

/** What a result says of it. @param versions - of the peers that are measured, by name */
export function contaminationOf(
  ids: string[],
  { sources, runs }: TrainingPrompts,
  peers: readonly PeerOption[],
  versions: ReadonlyMap<string, number>,
): Contamination {
  return {
    ids,
    comparedWith: sources.map(({ source, prompts }) => ({ source, prompts: prompts.length })),
    notChecked: peers.flatMap((peer) => {
      const why = whyNotChecked(runs.get(peer.name), versions.get(peer.name) ?? 0);
      return why === undefined ? [] : [{ peer: peer.name, why }];
    }),
  };
}

/** @param runs - undefined for a peer that is not of the mesh that is up here */
function whyNotChecked(runs: readonly KnownRun[] | undefined, version: number): string | undefined {
  if (runs === undefined) return 'no records of such training here';
  const silent = runs.filter(({ hasQuestions }) => !hasQuestions).map(({ runId }) => runId);
  if (silent.length > 0) return `no questions are kept of ${silent.join(', ')}`;
  const known = runs.reduce((sum, { versions }) => sum + versions, 0);
  return known < version ? `records here tell of ${known} of its ${plural(version, 'version')}` : undefined;
}
