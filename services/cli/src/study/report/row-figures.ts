import type { PeerScores } from '../cell-result.js';
import type { ComparedRow, Comparison, Pair } from './compare-cells.js';
import { estimate, meanOf } from './estimate.js';
import type { Estimate, PopulationValue } from './estimate.js';

/** A least value and whose it is. */
export interface Worst {
  value: number;
  /** `p3 qwen`, `p3`. */
  whose: string;
}

/**
 * What a row came to on the populations of one task. Seeds and peers are averaged within a population, then the populations;
 * shares in [0, 1] throughout, NaN where nothing was measured.
 */
export interface RowFigures {
  name: string;
  title: string;
  cells: number;
  accuracy: Pair<number>;
  /** Of the peers' greedy accuracy. */
  change: Estimate;
  worstPeer: Worst;
  voteChange: Estimate;
  worstVote: Worst;
  /** Of {@link change} as the oracle's on the same populations; NaN without an oracle that gained. */
  shareOfOracle: number;
  sampledChange: Estimate;
  passChange: Estimate;
  gap: Pair<number>;
  auc: Pair<number>;
  yesNoGap: Pair<number>;
  yesNoAuc: Pair<number>;
  entropy: Pair<number>;
  tokens: Pair<number>;
  unparseable: Pair<number>;
  agreement: Pair<number>;
  /** Greedy answers of a peer, as a share of the questions answered both times. */
  wrongToRight: number;
  rightToWrong: number;
  /** Means per cell. */
  updates: { published: number; applied: number; items: number; optimizerSteps: number };
  accepted: number;
  seconds: { train: number; measure: number };
  /** Cells that did not run to their end, and those in which a guard found something. */
  stopped: number;
  guarded: number;
}

type Figure = number | null | undefined;

/** @param passK - k of pass@k */
export function rowFigures(row: ComparedRow, oracle: ComparedRow | undefined, passK: string): RowFigures {
  const comparisons = row.populations.flatMap((one) => one.comparisons);
  const cells = comparisons.map(({ cell }) => cell);
  const change = peersChange(row);
  const peers = (get: (peer: PeerScores) => Figure) => levels(row, get);
  const perCell = (get: (cell: Comparison['cell']) => Figure) =>
    meanOf(valuesOf(row, ({ cell }) => get(cell)).map(({ value }) => value));
  return {
    name: row.name,
    title: row.title,
    cells: cells.length,
    accuracy: peers(({ greedy }) => greedy.accuracy),
    change,
    worstPeer: worst(
      comparisons.flatMap(({ cell, peers }) =>
        peers.map(({ name, was, is }) => ({
          whose: `${cell.population} ${name}`,
          value: difference(was.greedy.accuracy, is.greedy.accuracy),
        })),
      ),
    ),
    voteChange: estimate(valuesOf(row, ({ vote }) => difference(vote.was.accuracy, vote.is.accuracy))),
    worstVote: worst(
      comparisons.map(({ cell, vote }) => ({
        whose: cell.population,
        value: difference(vote.was.accuracy, vote.is.accuracy),
      })),
    ),
    shareOfOracle: shareOf(change, oracle && peersChange(oracle)),
    sampledChange: peersChange(row, ({ sampled }) => sampled),
    passChange: peersChange(row, ({ passAtK }) => passAtK[passK]),
    gap: peers(({ gap }) => gap?.gap),
    auc: peers(({ gap }) => gap?.auc),
    yesNoGap: peers(({ yesNoGap }) => yesNoGap?.gap),
    yesNoAuc: peers(({ yesNoGap }) => yesNoGap?.auc),
    entropy: peers(({ entropy }) => entropy),
    tokens: peers(({ tokens }) => tokens),
    unparseable: peers(({ unparseable }) => unparseable),
    agreement: {
      was: meanOf(valuesOf(row, ({ agreement }) => agreement.was).map(({ value }) => value)),
      is: meanOf(valuesOf(row, ({ agreement }) => agreement.is).map(({ value }) => value)),
    },
    wrongToRight: flips(row, '01'),
    rightToWrong: flips(row, '10'),
    updates: {
      published: perCell(({ updates }) => updates.published),
      applied: perCell(({ updates }) => updates.applied),
      items: perCell(({ updates }) => updates.items),
      optimizerSteps: perCell(({ updates }) => updates.optimizerSteps),
    },
    accepted: perCell(({ accepted }) => accepted),
    seconds: {
      train: perCell(({ seconds }) => seconds.train),
      measure: perCell(({ seconds }) => seconds.measure),
    },
    stopped: cells.filter(({ state }) => state !== 'completed').length,
    guarded: cells.filter(({ verdicts }) => verdicts.length > 0).length,
  };
}

/** The mean change of a figure of the peers; unless given, of their greedy accuracy. */
export function peersChange(
  row: ComparedRow,
  get: (peer: PeerScores) => Figure = ({ greedy }) => greedy.accuracy,
): Estimate {
  return estimate(
    valuesOf(row, ({ peers }) => meanOfKnown(peers.map(({ was, is }) => difference(get(was), get(is))))),
  );
}

/** A figure of each population: the mean over its seeds. Populations without one are left out. */
export function valuesOf(row: ComparedRow, get: (comparison: Comparison) => Figure): PopulationValue[] {
  return row.populations
    .map(({ population, comparisons }) => ({ population, value: meanOfKnown(comparisons.map(get)) }))
    .filter(({ value }) => !Number.isNaN(value));
}

/** NaN if either is not known. */
export function difference(was: Figure, is: Figure): number {
  return (is ?? NaN) - (was ?? NaN);
}

/** The mean of what is known, NaN if nothing is. */
export function meanOfKnown(values: readonly Figure[]): number {
  return meanOf(
    values.filter((value) => value !== null && value !== undefined).filter((value) => !Number.isNaN(value)),
  );
}

/** Before and after, over the peers that have both. */
function levels(row: ComparedRow, get: (peer: PeerScores) => Figure): Pair<number> {
  const side = (which: keyof Pair<unknown>) =>
    meanOf(
      valuesOf(row, ({ peers }) =>
        meanOfKnown(
          peers.map((peer) =>
            Number.isNaN(difference(get(peer.was), get(peer.is))) ? null : get(peer[which]),
          ),
        ),
      ).map(({ value }) => value),
    );
  return { was: side('was'), is: side('is') };
}

/** The mean share of a peer's answers that went from one to the other. @param which - before and after */
function flips(row: ComparedRow, which: '01' | '10'): number {
  return meanOf(
    valuesOf(row, ({ peers }) =>
      meanOfKnown(
        peers.map(({ was, is }) => {
          const both = [...was.greedy.right]
            .map((before, i) => before + is.greedy.right[i])
            .filter((pair) => !pair.includes('-'));
          return both.filter((pair) => pair === which).length / both.length;
        }),
      ),
    ).map(({ value }) => value),
  );
}

function worst(values: readonly Worst[]): Worst {
  return values
    .filter(({ value }) => !Number.isNaN(value))
    .reduce((least, one) => (one.value < least.value ? one : least), { value: Infinity, whose: '' });
}

/** Over the populations that have both. */
function shareOf(change: Estimate, oracle: Estimate | undefined): number {
  const pairs = change.values.flatMap(({ population, value }) => {
    const other = oracle?.values.find((one) => one.population === population);
    return other ? [{ value, oracle: other.value }] : [];
  });
  const ceiling = meanOf(pairs.map((pair) => pair.oracle));
  return ceiling > 0 ? meanOf(pairs.map(({ value }) => value)) / ceiling : NaN;
}
