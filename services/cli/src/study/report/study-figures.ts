import type { CellResult } from '../cell-result.js';
import { compareCells } from './compare-cells.js';
import type { ComparedRow, ComparedTask, Comparison } from './compare-cells.js';
import { populationFigures } from './population-figures.js';
import type { PopulationFigures } from './population-figures.js';
import { rowFigures } from './row-figures.js';
import type { RowFigures } from './row-figures.js';
import { untrainedFigures, untrainedPopulations } from './untrained-figures.js';
import type { UntrainedFigures, UntrainedPopulation } from './untrained-figures.js';
import { weightingFigures } from './weighting-figures.js';
import type { WeightingFigures } from './weighting-figures.js';

/** Everything that a report says of one task. */
export interface TaskFigures {
  task: string;
  populations: string[];
  /** Held-out questions of a population. */
  heldOut: number;
  /** k of pass@k: the largest that was measured. */
  passK: string;
  /** Title of the row that shares are taken of. */
  oracle: string | undefined;
  untrained: UntrainedFigures[];
  untrainedPopulations: UntrainedPopulation[];
  rows: RowFigures[];
  weightings: WeightingFigures[];
  byPopulation: PopulationFigures[];
  /** The row whose peers are shown one by one. */
  shown: ComparedRow | undefined;
  /** Cells in which a guard spoke. */
  guarded: Comparison[];
  /** Cells that did not run to their end. */
  stopped: Comparison[];
}

/** What the cells of a study come to, task by task. @throws ParleyError as compareCells does */
export function studyFigures(cells: readonly CellResult[]): TaskFigures[] {
  return compareCells(cells).map(taskFigures);
}

function taskFigures(task: ComparedTask): TaskFigures {
  const { untrained, rows } = task;
  const oracle =
    rows.find(({ name }) => name === 'oracle') ?? rows.find(({ name }) => name.startsWith('oracle'));
  const passK = String(
    Math.max(
      ...untrained.flatMap(({ peers }) => peers.flatMap(({ passAtK }) => Object.keys(passAtK).map(Number))),
    ),
  );
  const all = rows.flatMap(({ populations }) => populations.flatMap(({ comparisons }) => comparisons));
  return {
    task: task.task,
    populations: untrained.map(({ population }) => population),
    heldOut: Math.max(...untrained.map(({ vote }) => vote.right.length)),
    passK,
    oracle: oracle?.title,
    untrained: untrainedFigures(untrained),
    untrainedPopulations: untrainedPopulations(untrained),
    rows: rows.map((row) => rowFigures(row, oracle, passK)),
    weightings: weightingFigures(rows),
    byPopulation: populationFigures(task),
    shown: rows.find(({ name }) => name === 'default') ?? rows[0],
    guarded: all.filter(({ cell }) => cell.verdicts.length > 0),
    stopped: all.filter(({ cell }) => cell.state !== 'completed'),
  };
}
