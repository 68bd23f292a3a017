import type { CellResult } from '../cell-result.js';
import { estimate, meanOf } from './estimate.js';
import type { Estimate } from './estimate.js';
import { meanOfKnown } from './row-figures.js';

/** A way of answering without training, over the populations of one task. */
export interface UntrainedFigures {
  title: string;
  accuracy: Estimate;
  /** Less the mean of the peers' greedy accuracy. */
  againstPeers: Estimate;
  /** Less the greedy accuracy of the best peer, which is chosen on the same questions. */
  againstBest: Estimate;
  /** Populations on which it is above the best peer. */
  better: number;
}

/** One untrained population. Accuracies are shares. */
export interface UntrainedPopulation {
  population: string;
  peers: number;
  bestPeer: number;
  vote: number;
  /** The last peer of a sequence, mean over the orders; null where it was not measured. */
  lastOfSequence: number | null;
}

/** Population by population, what answers before training. */
export function untrainedPopulations(cells: readonly CellResult[]): UntrainedPopulation[] {
  return cells.map((cell) => ({
    population: cell.population,
    peers: peersAlone(cell),
    bestPeer: bestPeer(cell),
    vote: cell.vote.accuracy,
    lastOfSequence: cell.lastOfSequence === undefined ? null : meanOf(lasts(cell)),
  }));
}

/** What can be had of untrained populations. Ways that were not measured are left out. */
export function untrainedFigures(cells: readonly CellResult[]): UntrainedFigures[] {
  const ways: [title: string, accuracy: (cell: CellResult) => number][] = [
    ['A peer alone, greedy (mean of the peers)', peersAlone],
    [
      'A peer alone, sampled (mean of the peers)',
      ({ peers }) => meanOfKnown(peers.map((peer) => peer.sampled)),
    ],
    [
      "The majority of a peer's own samples (mean of the peers)",
      ({ peers }) => meanOfKnown(peers.map((peer) => peer.majority)),
    ],
    ['The best peer alone, greedy', bestPeer],
    ["The vote of the peers' greedy answers", ({ vote }) => vote.accuracy],
    ['The last peer of a sequence (mean over the orders)', (cell) => meanOf(lasts(cell))],
    ['The last peer of a sequence (best order)', (cell) => Math.max(...lasts(cell))],
  ];
  return ways
    .map(([title, accuracy]) => figures(title, cells, accuracy))
    .filter(({ accuracy }) => accuracy.values.length > 0);
}

function figures(
  title: string,
  cells: readonly CellResult[],
  accuracy: (cell: CellResult) => number,
): UntrainedFigures {
  const over = (value: (cell: CellResult) => number) =>
    estimate(
      cells
        .map((cell) => ({ population: cell.population, value: value(cell) }))
        .filter(({ value }) => Number.isFinite(value)),
    );
  const againstBest = over((cell) => accuracy(cell) - bestPeer(cell));
  return {
    title,
    accuracy: over(accuracy),
    againstPeers: over((cell) => accuracy(cell) - peersAlone(cell)),
    againstBest,
    better: againstBest.values.filter(({ value }) => value > 0).length,
  };
}

function peersAlone({ peers }: CellResult): number {
  return meanOfKnown(peers.map(({ greedy }) => greedy.accuracy));
}

function bestPeer({ peers }: CellResult): number {
  return Math.max(...peers.map(({ greedy }) => greedy.accuracy));
}

function lasts({ lastOfSequence = [] }: CellResult): number[] {
  return lastOfSequence.map(({ accuracy }) => accuracy);
}
