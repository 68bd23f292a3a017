import type { MeanChange } from '@parley/evaluation';
import { percent, points, pointsInterval } from '../../output/format.js';
import { change } from './format-figures.js';
import { figureColumns, markdownTable } from './markdown.js';
import type { PopulationFigures } from './population-figures.js';
import { accuracyTable, answersTable, samplesTable, trainingTable } from './render-rows.js';
import { renderWeighting } from './render-weightings.js';
import type { TaskFigures } from './study-figures.js';

/** The files of a task's charts, without `.svg` or `.png`; null where there is none. */
export interface ChartNames {
  changes: string | null;
  peers: string | null;
  vote: string | null;
  gap: string | null;
  /** One for each comparison of weightings. */
  weightings: (string | null)[];
}

const INTRODUCTION = `# Results

Made by \`parley study report\` from the study's \`cells.jsonl\` and from nothing else: do not edit. What the rows are, says the study's
specification.

Every cell starts from untrained peers and is measured on held-out questions that no training saw; changes are against the same population
untrained, in percentage points. Seeds and peers are averaged within a population; an interval in brackets is Student's t over the populations,
95 %, unless a heading says otherwise. The worst is the least change of any population, seed and peer. *Vote* is the majority of the
peers' greedy answers.`;

/** The results of a study as Markdown. @param charts - by task, in the order of the tasks */
export function renderResults(tasks: readonly TaskFigures[], charts: readonly ChartNames[]): string {
  return `${[INTRODUCTION, ...tasks.flatMap((task, i) => renderTask(task, charts[i]))].join('\n\n')}\n`;
}

function renderTask(task: TaskFigures, charts: ChartNames): string[] {
  const { populations, heldOut } = task;
  const sections: [heading: string, ...parts: string[]][] = [
    ['Without training', untrainedTable(task), UNTRAINED_NOTE, untrainedPopulationsTable(task)],
    ['Accuracy', accuracyTable(task), oracleNote(task), ...image('Change by row', charts.changes)],
    ['Peers and vote', ...image('Change of the peers against change of the vote', charts.vote)],
    ['Peer by peer', ...image('Each peer before and after', charts.peers)],
    ['Samples and verifier', samplesTable(task), SAMPLES_NOTE, ...image('Gap before and after', charts.gap)],
    ['Answers', answersTable(task), ANSWERS_NOTE],
    ...weightingSections(task, charts),
    ['Training', trainingTable(task), TRAINING_NOTE, ...stopped(task)],
    ['Guards', ...verdicts(task)],
    ['Population by population', BY_POPULATION_NOTE, ...task.byPopulation.map(populationTable)],
  ];
  return [
    `## Task: ${task.task}`,
    `${populations.length} populations (${populations.join(', ')}), up to ${heldOut} held-out questions each.`,
    ...sections
      .filter((section) => section.length > 1)
      .flatMap(([heading, ...parts]) => [`### ${heading}`, ...parts.filter((part) => part !== '')]),
  ];
}

const UNTRAINED_NOTE =
  'Samples are of the first held-out questions only. The best peer is chosen on the very questions it is judged on.';

function untrainedTable({ untrained }: TaskFigures): string {
  return markdownTable(
    figureColumns(
      'Who answers',
      'Accuracy',
      'Against the mean peer',
      'Against the best peer',
      'Populations above the best peer',
    ),
    untrained.map(({ title, accuracy, againstPeers, againstBest, better }) => [
      title,
      percent(accuracy.mean),
      change(againstPeers),
      change(againstBest),
      `${better} of ${againstBest.values.length}`,
    ]),
  );
}

function untrainedPopulationsTable({ untrainedPopulations }: TaskFigures): string {
  return markdownTable(
    figureColumns(
      'Population',
      'Mean peer',
      'Best peer',
      'Vote',
      'Last of a sequence (mean over the orders)',
      'Last against the best peer',
    ),
    untrainedPopulations.map(({ population, peers, bestPeer, vote, lastOfSequence }) => [
      population,
      percent(peers),
      percent(bestPeer),
      percent(vote),
      accuracy(lastOfSequence),
      lastOfSequence === null ? '–' : points(lastOfSequence - bestPeer),
    ]),
  );
}

function oracleNote({ oracle }: TaskFigures): string {
  if (oracle === undefined) return '';
  return `The oracle is the row "${oracle}"; a share is the ratio of the mean changes of the peers on the populations that both rows have.`;
}

const SAMPLES_NOTE =
  'Gap, in points before → after: accuracy of the sample that the verifier scores highest, less that of the samples; the verifier is the likelihood, ' +
  "or the peer's own yes or no. Relative: change of the mean gap. AUC: chance that a right sample scores above a wrong one.";

const ANSWERS_NOTE =
  'Flips are answers of a peer per 1000 questions. Agreement: share of questions on which two peers answer the same. Entropy in nats per ' +
  'token, tokens of an answer; all of greedy answers, before → after.';

const TRAINING_NOTE =
  'Means of a cell, over all its peers, but for three counts of cells: all of them, those in which a guard found something, and those that ended ' +
  'before their last round.';

const GUARDS_NOTE =
  'What guards found on the monitor pool; a round that never came is the measurement after the last. Shares and relative changes as the ' +
  'guard measures them; the change of the peer is of its greedy accuracy on held-out questions.';

const BY_POPULATION_NOTE =
  "Change of each peer's greedy accuracy in points; intervals here are of a paired bootstrap over the questions, 95 %.";

function weightingSections({ weightings }: TaskFigures, charts: ChartNames): [string, ...string[]][] {
  return weightings.map((weighting, i) => [
    weightings.length === 1 ? 'PMI weights' : `PMI weights (${i + 1})`,
    `Rows whose recipes differ in weights and learning rate alone: ${weighting.rows.map(({ name }) => `\`${name}\``).join(', ')}. ` +
      'Differences are paired by population and seed.',
    renderWeighting(weighting),
    ...image('Change by learning rate', charts.weightings[i]),
  ]);
}

function stopped({ stopped }: TaskFigures): string[] {
  if (stopped.length === 0) return [];
  return [
    stopped
      .map(
        ({ cell }) =>
          `- \`${cell.cell}\` ${cell.state}${cell.stateReason === '' ? '' : `: ${cell.stateReason}`}`,
      )
      .join('\n'),
  ];
}

function verdicts({ guarded }: TaskFigures): string[] {
  if (guarded.length === 0) return [];
  const table = markdownTable(
    figureColumns('Cell', 'Before round', 'Peer', 'Guard', 'Found', 'Limit', 'Action', 'Peer in the end'),
    guarded.flatMap(({ cell, peers }) =>
      cell.verdicts.map(({ round, peer, guard, value, threshold, action }) => {
        const found = peers.find(({ name }) => name === peer);
        return [
          `\`${cell.cell}\``,
          String(round),
          peer === '' ? 'all' : peer,
          `\`${guard}\``,
          value.toFixed(3),
          String(threshold),
          `\`${action}\``,
          found ? points(found.is.greedy.accuracy - found.was.greedy.accuracy) : '–',
        ];
      }),
    ),
  );
  return [GUARDS_NOTE, table];
}

function populationTable({ untrained, rows }: PopulationFigures): string {
  const { population, peers, vote } = untrained;
  const table = markdownTable(figureColumns('Row', 'Seeds', ...peers.map(({ name }) => name), 'Vote'), [
    ['untrained', '', ...peers.map(({ greedy }) => accuracy(greedy.accuracy)), accuracy(vote.accuracy)],
    ...rows.map((row) => [row.title, String(row.seeds), ...[...row.peers, row.vote].map(questionChange)]),
  ]);
  return `#### ${population}\n\n${table}`;
}

function accuracy(value: number | null): string {
  return percent(value ?? undefined);
}

function questionChange(one: MeanChange | null): string {
  return one === null ? '–' : `${points(one.delta)} ${pointsInterval([one.ci95.low, one.ci95.high])}`;
}

function image(description: string, name: string | null): string[] {
  return name === null ? [] : [`![${description}](${name}.svg)`];
}
