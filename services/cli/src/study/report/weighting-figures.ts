import type { ComparedRow, Comparison } from './compare-cells.js';
import { estimate } from './estimate.js';
import type { Estimate } from './estimate.js';
import { meanOfKnown, peersChange } from './row-figures.js';

/** A row by how it weighs updates. */
export interface WeightedRow {
  /** `sigmoid`, `uniform`, …; `reversed` and `shuffled` are ablations of the sigmoid. */
  weighting: string;
  learningRate: number;
  name: string;
  change: Estimate;
}

/** What the weights of PMI gain over others at one learning rate. */
export interface WeightingContrast {
  learningRate: number;
  /** The other weighting. */
  against: string;
  /** Sigmoid less the other, paired by population and seed: of the peers' mean change, and of the vote's. */
  peers: Estimate;
  vote: Estimate;
}

/** Rows whose recipes differ in weights and learning rate alone. */
export interface WeightingFigures {
  rows: WeightedRow[];
  contrasts: WeightingContrast[];
}

const SIGMOID = 'sigmoid';
const ORDER = [SIGMOID, 'uniform', 'reversed', 'shuffled'];

/** All sets of rows that compare at least two weightings; rows trained on labels have no weights to compare. */
export function weightingFigures(rows: readonly ComparedRow[]): WeightingFigures[] {
  const sets = new Map<string, Weighed[]>();
  for (const row of rows) {
    const weighed = weigh(row);
    if (!weighed) continue;
    sets.set(weighed.rest, [...(sets.get(weighed.rest) ?? []), weighed]);
  }
  return [...sets.values()]
    .filter((set) => new Set(set.map(({ weighting }) => weighting)).size > 1)
    .map((set) => set.sort((a, b) => rank(a) - rank(b) || a.learningRate - b.learningRate))
    .map((set) => ({
      rows: set.map(({ row, weighting, learningRate }) => ({
        weighting,
        learningRate,
        name: row.name,
        change: peersChange(row),
      })),
      contrasts: contrasts(set),
    }));
}

interface Weighed {
  row: ComparedRow;
  weighting: string;
  learningRate: number;
  /** All else that the row depends on. */
  rest: string;
}

function weigh(row: ComparedRow): Weighed | undefined {
  const { cell, peers } = row.populations[0].comparisons[0];
  if (cell.recipe === null || row.name.startsWith('oracle')) return undefined;
  const { preset: _, ...recipe } = cell.recipe;
  const { kind, ablation, ...weight } = recipe.weight;
  const { learningRate, ...training } = recipe.training;
  const copies = new Set(peers.map(({ was }) => was.name)).size < peers.length;
  return {
    row,
    weighting: kind === SIGMOID ? (ablation === 'none' ? kind : ablation) : named(kind, ablation),
    learningRate,
    rest: JSON.stringify(
      sorted({ ...recipe, weight, training, train: cell.train, questions: cell.questions, copies }),
    ),
  };
}

function named(kind: string, ablation: string): string {
  return ablation === 'none' ? kind : `${kind}, ${ablation}`;
}

/** Fields in one order at every depth. */
function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, sorted(inner)]),
  );
}

/** Known weightings first, in their order. */
function rank({ weighting }: Weighed): number {
  const index = ORDER.indexOf(weighting);
  return index < 0 ? ORDER.length : index;
}

function contrasts(set: readonly Weighed[]): WeightingContrast[] {
  return set.flatMap((sigmoid) => {
    if (sigmoid.weighting !== SIGMOID) return [];
    return set
      .filter((other) => other.weighting !== SIGMOID && other.learningRate === sigmoid.learningRate)
      .map((other) => ({
        learningRate: sigmoid.learningRate,
        against: other.weighting,
        peers: pairedDifference(sigmoid.row, other.row, meanChange),
        vote: pairedDifference(sigmoid.row, other.row, voteChange),
      }));
  });
}

/** Over the populations on which both have cells of the same seed. */
function pairedDifference(
  one: ComparedRow,
  other: ComparedRow,
  changeOf: (comparison: Comparison) => number,
): Estimate {
  return estimate(
    one.populations.flatMap(({ population, comparisons }) => {
      const partners = other.populations.find((there) => there.population === population)?.comparisons ?? [];
      const differences = comparisons.flatMap((comparison) => {
        const partner = partners.find(({ cell }) => cell.seed === comparison.cell.seed);
        return partner ? [changeOf(comparison) - changeOf(partner)] : [];
      });
      const value = meanOfKnown(differences);
      return Number.isNaN(value) ? [] : [{ population, value }];
    }),
  );
}

function meanChange({ peers }: Comparison): number {
  return meanOfKnown(peers.map(({ was, is }) => is.greedy.accuracy - was.greedy.accuracy));
}

function voteChange({ vote: { was, is } }: Comparison): number {
  return is.accuracy - was.accuracy;
}
