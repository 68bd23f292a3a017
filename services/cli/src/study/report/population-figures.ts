import { meanChanges } from '@parley/evaluation';
import type { MeanChange } from '@parley/evaluation';
import type { CellResult, Correctness } from '../cell-result.js';
import type { ComparedRow, ComparedTask, Comparison, Pair } from './compare-cells.js';
import { meanOf } from './estimate.js';

/** A row on one population. Changes are of greedy accuracy, with a paired bootstrap over the questions. */
export interface PopulationRow {
  title: string;
  seeds: number;
  /** In the order of the population's peers, or of the copies of one; null where no question was answered both times. */
  peers: (MeanChange | null)[];
  vote: MeanChange | null;
}

/** One population, its rows in the order of the study. */
export interface PopulationFigures {
  untrained: CellResult;
  rows: PopulationRow[];
}

/** Of the resampling: the same results give the same intervals. */
const SEED = 0n;

/** Every population of a task with what each row changed there. */
export function populationFigures({ untrained, rows }: ComparedTask): PopulationFigures[] {
  return untrained.map((cell) => {
    const own = rows.flatMap((row) => onPopulation(row, cell.population));
    const changes = changesOf(own.flatMap(({ lists }) => lists));
    return {
      untrained: cell,
      rows: own.map(({ title, seeds, lists }) => {
        const [vote, ...peers] = changes.splice(0, lists.length);
        return { title, seeds, peers, vote };
      }),
    };
  });
}

/** By question, differences of the vote and then of each peer. */
interface RowDifferences {
  title: string;
  seeds: number;
  lists: number[][];
}

function onPopulation({ title, populations }: ComparedRow, population: string): RowDifferences[] {
  const comparisons = populations.find((one) => one.population === population)?.comparisons;
  if (comparisons === undefined) return [];
  const names = comparisons[0].peers.map(({ name }) => name);
  const lists = [
    comparisons.map(({ vote }) => vote),
    ...names.map((name) => comparisons.flatMap((one) => peerPair(one, name))),
  ];
  return [{ title, seeds: comparisons.length, lists: lists.map(differences) }];
}

function peerPair({ peers }: Comparison, name: string): Pair<Correctness>[] {
  return peers
    .filter((peer) => peer.name === name)
    .map(({ was, is }) => ({ was: was.greedy, is: is.greedy }));
}

/** Averaged over the seeds question by question, so that what they share is resampled together. */
function differences(seeds: readonly Pair<Correctness>[]): number[] {
  return Array.from(seeds[0]?.was.right ?? '', (_, i) =>
    seeds
      .map(({ was, is }) => was.right[i] + is.right[i])
      .filter((both) => !both.includes('-'))
      .map(([was, is]) => Number(is) - Number(was)),
  )
    .filter((answered) => answered.length > 0)
    .map(meanOf);
}

function changesOf(lists: readonly (readonly number[])[]): (MeanChange | null)[] {
  const changes = meanChanges(
    lists.filter(({ length }) => length > 0),
    { seed: SEED },
  );
  return lists.map(({ length }) => (length === 0 ? null : changes.shift()!));
}
