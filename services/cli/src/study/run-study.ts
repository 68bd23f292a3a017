import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  heldOutQuestions,
  LISTENING,
  PRETRAINING,
  solvedQuestions,
  taskNamed,
  unlabelledQuestions,
} from '@parley/evaluation';
import { requireRoom } from '@parley/models';
import { ParleyError } from '@parley/runtime';
import type { Cli } from '../cli.js';
import { measureWithProgress } from '../measure/measure-with-progress.js';
import type { MeasurementPlan } from '../measure/measurement.js';
import { demoPeers } from '../mesh/demo-peers.js';
import type { LocalPeer } from '../mesh/mesh-services.js';
import { POPULATION_FILE } from '../pretrain/population-record.js';
import { pretrainPopulation } from '../pretrain/pretrain-population.js';
import { cellScores, correctness } from './cell-result.js';
import type { CellResult, CellScores } from './cell-result.js';
import { lastOfSequence } from './last-of-sequence.js';
import { groupCells } from './study-cells.js';
import type { CellGroup, StudyCell } from './study-cells.js';
import { MESH_FOLDER, startStudyMesh } from './study-mesh.js';
import type { StudyMesh } from './study-mesh.js';
import { openStudyResults } from './study-results.js';
import type { StudyResults } from './study-results.js';
import { PEERS } from './study-spec.js';
import type { StudyPopulation, StudySpec } from './study-spec.js';
import { sabotagePeer } from './sabotage.js';
import { trainCell, UNTRAINED } from './train-cell.js';
import type { Training } from './train-cell.js';
import { trainOnLabels } from './train-on-labels.js';

/** Where a study's results are, in its folder. */
export const RESULTS_FILE = 'cells.jsonl';

const CALL_DEADLINE_MS = 600_000;
/** What versions, rounds and logs of one cell take at most, beside a version of a peer a round. */
const CELL_BYTES = 32 * 1024 ** 2;
/** One version of one of a study's peers, with its optimiser. */
const VERSION_BYTES = 8 * 1024 ** 2;

/**
 * Runs every cell of a study that has no result yet, one population and one mesh after another. Interrupted at any instant,
 * it goes on where it was: a cell has its whole result or none.
 *
 * @param only - names of rows; the others wait for another time
 * @returns the results of all cells, earlier ones included
 * @throws ParleyError STUDY_INVALID, DISK_FULL before anything starts, or what pretraining, the mesh or measuring throws
 */
export async function runStudy(
  cli: Cli,
  spec: StudySpec,
  folder: string,
  only?: readonly string[],
): Promise<StudyResults> {
  await mkdir(folder, { recursive: true });
  refuseUnknownRows(spec, only);
  const results = await openStudyResults(join(folder, RESULTS_FILE));
  const groups = groupCells(spec)
    .map((group) => ({
      ...group,
      cells: group.cells.filter((cell) => !results.has(cell) && isWanted(cell, only)),
    }))
    .filter(({ cells }) => cells.length > 0);
  const total = groups.reduce((sum, { cells }) => sum + cells.length, 0);
  cli.terminal.line(`${total} cells to run, ${results.cells.length} are there`);
  const totalBytes = bytesOf(groups, spec);
  await requireRoom({ label: 'The study', folder, totalBytes, presentBytes: 0 });
  let done = 0;
  for (const group of groups) {
    const peers = await populationPeers(cli, join(folder, 'populations'), group.population);
    await using mesh = await startStudyMesh(cli, folder, peersOf(group, peers), group.train);
    for (const cell of group.cells) {
      cli.terminal.line(`Cell ${++done} of ${total}: ${cell.id}`);
      await results.append(await runCell(cli, mesh, spec, cell));
    }
  }
  await rm(join(folder, MESH_FOLDER), { recursive: true, force: true });
  return results;
}

function refuseUnknownRows({ rows }: StudySpec, only: readonly string[] = []): void {
  const names = rows.map(({ name }) => name);
  const unknown = only.filter((name) => !names.includes(name));
  if (unknown.length === 0) return;
  const message = `--only names rows that the study does not have: ${unknown.join(', ')}; it has ${names.join(', ')}`;
  throw new ParleyError('STUDY_INVALID', message);
}

/** What is compared with is always wanted. */
function isWanted({ row }: StudyCell, only: readonly string[] | undefined): boolean {
  return only === undefined || row === undefined || only.includes(row.name);
}

async function runCell(cli: Cli, mesh: StudyMesh, spec: StudySpec, cell: StudyCell): Promise<CellResult> {
  const { id, definition, population, row, seed } = cell;
  await mesh.untrain(`study/${id}/${cli.now().getTime()}`);
  const training = row === undefined ? UNTRAINED : await train(cli, mesh, spec, cell);
  const started = performance.now();
  const scores = await measureCell(cli, mesh, spec, cell);
  const { trainSeconds, ...trained } = training;
  return {
    format: 'parley.study-cell/1',
    cell: id,
    definition,
    population: population.name,
    task: population.task,
    row: row?.name ?? 'untrained',
    title: row?.title ?? 'untrained',
    seed,
    recipe: row?.recipe ?? null,
    train: row?.train ?? 'full',
    questions: row === undefined ? 0 : (row.questions ?? spec.questions),
    ...trained,
    ...scores,
    weights: await mesh.weights(),
    seconds: { train: trainSeconds, measure: (performance.now() - started) / 1000 },
  };
}

function train(
  cli: Cli,
  mesh: StudyMesh,
  spec: StudySpec,
  { id, population, row, seed }: StudyCell,
): Promise<Training> {
  const { recipe, labels, sabotage, questions = spec.questions } = row!;
  const task = taskNamed(population.task);
  const runId = `study-${id.replaceAll(/[^a-z0-9-]/g, '-')}-${cli.now().getTime()}`;
  const common = { runId, recipe, seed: BigInt(seed) };
  const solved = { ...common, questions: solvedQuestions(task, questions, BigInt(seed)), signal: cli.signal };
  if (labels === 'oracle') return trainOnLabels(mesh.peers, solved);
  const interlude = sabotage && {
    afterRounds: sabotage.afterRounds,
    happen: () => sabotagePeer(mesh.peers[sabotage.peer], sabotage.kind, solved),
  };
  const prompts = unlabelledQuestions(task, questions, BigInt(seed));
  const peers = mesh.peers.map(({ name }) => name);
  return trainCell(cli, mesh.coordinator, { ...common, title: id, peers, prompts }, interlude);
}

async function measureCell(
  cli: Cli,
  mesh: StudyMesh,
  { measure }: StudySpec,
  cell: StudyCell,
): Promise<CellScores> {
  const task = taskNamed(cell.population.task);
  const plan: MeasurementPlan = {
    questions: heldOutQuestions(task, measure.heldOut, BigInt(measure.seed)),
    sampledQuestions: Math.min(measure.sampled, measure.heldOut),
    samples: measure.samples,
    sampleTemperature: measure.temperature,
    maxTokens: task.maxResponseTokens,
    seed: BigInt(measure.seed),
    answers: task.answers,
    verifiers: ['likelihood', 'yes-no'],
  };
  const context = { signal: cli.signal, deadlineMs: CALL_DEADLINE_MS };
  const measurement = await measureWithProgress(mesh.peers, plan, {
    terminal: cli.terminal,
    label: `Measuring ${cell.id}`,
    ...context,
  });
  const scores = cellScores(measurement, measure.samples);
  if (cell.row !== undefined) return scores;
  const lasts = await Promise.all(
    [
      [0, 1, 2],
      [1, 2, 0],
      [2, 0, 1],
    ].map((order) => lastOfSequence(mesh.peers, order, plan, context)),
  );
  return { ...scores, lastOfSequence: lasts.map(correctness) };
}

/** The peers of a population, pretrained first if they are not there. */
async function populationPeers(
  { terminal, signal }: Cli,
  folder: string,
  population: StudyPopulation,
): Promise<LocalPeer[]> {
  const {
    name,
    seed,
    steps = PRETRAINING.steps,
    listeningSteps = LISTENING.steps,
    listeningWithout,
  } = population;
  const settings = [
    seed,
    steps,
    listeningSteps,
    ...(listeningWithout ? [`without-${listeningWithout}`] : []),
  ];
  const own = join(folder, [name, ...settings].join('-'));
  // Written when all peers are.
  if (existsSync(join(own, POPULATION_FILE))) return demoPeers(own);
  const progress = terminal.progress({
    label: `Pretraining population ${name}`,
    total: PEERS * (steps + listeningSteps),
    unit: 'steps',
  });
  try {
    await pretrainPopulation({
      task: taskNamed(population.task),
      folder: own,
      seed: BigInt(seed),
      solvingSteps: steps,
      listeningSteps,
      listeningWithout,
      signal,
      onProgress: () => progress.advance(),
    });
    progress.done();
  } finally {
    progress.abandon();
  }
  return demoPeers(own);
}

/** Clones are copies of the first peer. */
function peersOf({ peers }: CellGroup, population: readonly LocalPeer[]): readonly LocalPeer[] {
  const [first] = population;
  if (peers === 'population' || first === undefined) return population;
  return population.map((_, index) => ({ name: `${first.name}-${index + 1}`, folder: first.folder }));
}

/** What the largest mesh takes: each is removed when its cells are done. */
function bytesOf(groups: readonly CellGroup[], spec: StudySpec): number {
  const versions = ({ row }: StudyCell) =>
    row === undefined
      ? 1
      : PEERS * (1 + Math.ceil((row.questions ?? spec.questions) / row.recipe.rounds.promptsPerRound));
  const bytes = groups.map(({ cells }) =>
    cells.reduce((sum, cell) => sum + CELL_BYTES + versions(cell) * VERSION_BYTES, 0),
  );
  return Math.max(0, ...bytes);
}
