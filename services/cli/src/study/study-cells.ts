import { sha256 } from '@parley/runtime';
import type { StudyPopulation, StudyRow, StudySpec } from './study-spec.js';

/** One run of one row on one population; without a row, the population untrained. */
export interface StudyCell {
  /** `p1/trust/1`; `p1/untrained`. */
  id: string;
  population: StudyPopulation;
  row?: StudyRow;
  /** Of questions and run; of no meaning for an untrained population. */
  seed: number;
  /** Digest of everything that the cell's result depends on. */
  definition: string;
}

/** Cells that can run in one mesh, one after another. */
export interface CellGroup {
  population: StudyPopulation;
  peers: StudyRow['peers'];
  train: string;
  cells: StudyCell[];
}

/** All cells of a study: by population, and there by mesh, the untrained one first. */
export function groupCells(spec: StudySpec): CellGroup[] {
  return spec.populations.flatMap((population) => {
    const groups: CellGroup[] = [
      { population, peers: 'population', train: 'full', cells: [untrained(spec, population)] },
    ];
    for (const row of spec.rows) {
      if (row.populations && !row.populations.includes(population.name)) continue;
      let group = groups.find(({ peers, train }) => peers === row.peers && train === row.train);
      if (!group) groups.push((group = { population, peers: row.peers, train: row.train, cells: [] }));
      for (const seed of row.seeds ?? spec.seeds) group.cells.push(trained(spec, population, row, seed));
    }
    return groups;
  });
}

function untrained({ measure }: StudySpec, population: StudyPopulation): StudyCell {
  const definition = digest({ population, measure });
  return { id: `${population.name}/untrained`, population, seed: 0, definition };
}

function trained(spec: StudySpec, population: StudyPopulation, row: StudyRow, seed: number): StudyCell {
  const { recipe, train, peers, labels, sabotage, questions = spec.questions } = row;
  const definition = digest({
    population,
    recipe,
    train,
    peers,
    labels,
    sabotage,
    questions,
    seed,
    measure: spec.measure,
  });
  return { id: `${population.name}/${row.name}/${seed}`, population, row, seed, definition };
}

function digest(value: unknown): string {
  return sha256(JSON.stringify(value)).slice(0, 16);
}
