import { duration, percent } from '../../output/format.js';
import {
  change,
  number,
  pair,
  percentPair,
  pointsPair,
  ratio,
  relativeChange,
  worst,
} from './format-figures.js';
import { figureColumns, markdownTable } from './markdown.js';
import type { RowFigures } from './row-figures.js';
import type { TaskFigures } from './study-figures.js';

/** What each row did to the peers and to their vote. */
export function accuracyTable({ rows, populations }: TaskFigures): string {
  return markdownTable(
    figureColumns(
      'Row',
      'Populations',
      'Greedy accuracy',
      'Change of the peers',
      'Worst peer',
      'Change of the vote',
      'Worst vote',
      "Share of the oracle's",
    ),
    rows.map((row) => [
      row.title,
      `${row.change.values.length} of ${populations.length}`,
      percentPair(row.accuracy),
      change(row.change),
      worst(row.worstPeer),
      change(row.voteChange),
      worst(row.worstVote),
      ratio(row.shareOfOracle),
    ]),
  );
}

/** What each row did to samples, and to what a peer gains by choosing among its own. */
export function samplesTable({ rows, passK }: TaskFigures): string {
  const asked = rows.some(({ yesNoGap }) => !Number.isNaN(yesNoGap.was));
  return markdownTable(
    figureColumns(
      'Row',
      'Sampled accuracy',
      `pass@${passK}`,
      'Gap',
      'Relative',
      'AUC',
      ...(asked ? ['Yes/no gap', 'Relative', 'AUC'] : []),
    ),
    rows.map((row) => [
      row.title,
      change(row.sampledChange),
      change(row.passChange),
      pointsPair(row.gap),
      relativeChange(row.gap),
      pair(row.auc, 3),
      ...(asked ? [pointsPair(row.yesNoGap), relativeChange(row.yesNoGap), pair(row.yesNoAuc, 3)] : []),
    ]),
  );
}

/** How the greedy answers changed. */
export function answersTable({ rows }: TaskFigures): string {
  return markdownTable(
    figureColumns(
      'Row',
      'Wrong → right',
      'Right → wrong',
      'Agreement',
      'Entropy',
      'Tokens',
      'Without final answer',
    ),
    rows.map((row) => [
      row.title,
      number(row.wrongToRight * 1000, 1),
      number(row.rightToWrong * 1000, 1),
      percentPair(row.agreement),
      pair(row.entropy, 3),
      pair(row.tokens, 1),
      percentPair(row.unparseable),
    ]),
  );
}

/** What was trained, and what it took. */
export function trainingTable({ rows }: TaskFigures): string {
  return markdownTable(
    figureColumns(
      'Row',
      'Cells',
      'Accepted',
      'Updates applied',
      'Items',
      'Optimiser steps',
      'Guards spoke',
      'Stopped',
      'Training',
      'Measuring',
    ),
    rows.map((row) => [
      row.title,
      String(row.cells),
      percent(row.accepted, 0),
      applied(row),
      number(row.updates.items),
      number(row.updates.optimizerSteps),
      String(row.guarded),
      String(row.stopped),
      duration(row.seconds.train),
      duration(row.seconds.measure),
    ]),
  );
}

function applied({ updates: { published, applied } }: RowFigures): string {
  return `${number(applied, 1)} of ${number(published, 1)}`;
}
