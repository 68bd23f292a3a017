import { ParleyError } from '@parley/runtime';
import type { CellResult, Correctness, PeerScores } from '../cell-result.js';

/** Before and after. */
export interface Pair<T> {
  was: T;
  is: T;
}

/** A cell beside its population untrained. */
export interface Comparison {
  cell: CellResult;
  peers: (Pair<PeerScores> & { name: string })[];
  vote: Pair<Correctness>;
  agreement: Pair<number>;
}

/** A row on one population: one comparison a seed. */
export interface RowOnPopulation {
  population: string;
  comparisons: Comparison[];
}

/** A row on the populations of one task, as far as they are there. */
export interface ComparedRow {
  name: string;
  title: string;
  populations: RowOnPopulation[];
}

/** All that was measured of one task. Populations and rows are in the order of the file. */
export interface ComparedTask {
  task: string;
  untrained: CellResult[];
  rows: ComparedRow[];
}

/** What no row may be called. */
const UNTRAINED = 'untrained';

/**
 * Puts every cell beside the untrained cell of its population.
 *
 * @throws ParleyError STUDY_INVALID for a cell whose untrained one is missing or measured otherwise
 */
export function compareCells(cells: readonly CellResult[]): ComparedTask[] {
  const untrained = new Map(
    cells.filter(({ row }) => row === UNTRAINED).map((cell) => [cell.population, cell]),
  );
  const tasks = new Map<string, ComparedTask>();
  for (const cell of cells) {
    const before = untrained.get(cell.population);
    if (before?.task !== cell.task) throw withoutUntrained(cell);
    let task = tasks.get(cell.task);
    if (!task) tasks.set(cell.task, (task = { task: cell.task, untrained: [], rows: [] }));
    if (cell === before) task.untrained.push(cell);
    else if (cell.row !== UNTRAINED) add(task.rows, compare(before, cell));
    else throw invalid(cell, `population ${cell.population} has a second untrained cell; remove one`);
  }
  return [...tasks.values()];
}

function add(rows: ComparedRow[], comparison: Comparison): void {
  const { row: name, title, population } = comparison.cell;
  let row = rows.find((one) => one.name === name);
  if (!row) rows.push((row = { name, title, populations: [] }));
  const there = row.populations.find((one) => one.population === population);
  if (there) there.comparisons.push(comparison);
  else row.populations.push({ population, comparisons: [comparison] });
}

function compare(before: CellResult, cell: CellResult): Comparison {
  const peers = cell.peers.map((is) => ({ name: is.name, was: peerBefore(before, is.name, cell), is }));
  const copied = new Set(peers.map(({ was }) => was)).size === 1 && peers.length > 1;
  const comparison = {
    cell,
    peers,
    // Copies of one peer answer alike before they are trained.
    vote: { was: copied ? peers[0].was.greedy : before.vote, is: cell.vote },
    agreement: { was: copied ? 1 : before.agreement, is: cell.agreement },
  };
  for (const { was, is } of [comparison.vote, ...peers.map((peer) => pairOf(peer))]) {
    if (was.right.length === is.right.length) continue;
    throw invalid(
      cell,
      `it has ${is.right.length} answers, its population untrained ${was.right.length}; measure both on the same questions`,
    );
  }
  return comparison;
}

function pairOf({ was, is }: Pair<PeerScores>): Pair<Correctness> {
  return { was: was.greedy, is: is.greedy };
}

/** A copy, `llama-2`, was the peer `llama`. */
function peerBefore({ peers }: CellResult, name: string, cell: CellResult): PeerScores {
  const [, original] = /^(.+)-\d+$/.exec(name) ?? [];
  const found = peers.find((peer) => peer.name === name) ?? peers.find((peer) => peer.name === original);
  if (found) return found;
  throw invalid(
    cell,
    `its peer ${name} is none of the population's (${peers.map((peer) => peer.name).join(', ')})`,
  );
}

function withoutUntrained(cell: CellResult): ParleyError {
  return invalid(
    cell,
    `there is no untrained cell of population ${cell.population} and task ${cell.task}; let the study run to its end, or ` +
      'remove the line',
  );
}

function invalid({ cell }: CellResult, why: string): ParleyError {
  return new ParleyError('STUDY_INVALID', `Cell ${cell} cannot be reported: ${why}`);
}
