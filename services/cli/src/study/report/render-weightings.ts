import { plural } from '../../output/format.js';
import type { Estimate } from './estimate.js';
import { change } from './format-figures.js';
import { figureColumns, markdownTable } from './markdown.js';
import type { WeightingContrast, WeightingFigures } from './weighting-figures.js';

/** Ways of weighing beside one another at each learning rate, and what the sigmoid gains over the others. */
export function renderWeighting({ rows, contrasts }: WeightingFigures): string {
  const weightings = [...new Set(rows.map(({ weighting }) => weighting))];
  const rates = [...new Set(rows.map(({ learningRate }) => learningRate))].sort((a, b) => a - b);
  const changes = markdownTable(
    figureColumns('Learning rate', ...weightings),
    rates.map((rate) => [
      rate.toExponential(),
      ...weightings.map((weighting) =>
        rows
          .filter((row) => row.weighting === weighting && row.learningRate === rate)
          .map((row) => change(row.change))
          .join('; '),
      ),
    ]),
  );
  if (contrasts.length === 0) return changes;
  const differences = markdownTable(
    figureColumns('Learning rate', 'Sigmoid less', 'Populations', 'Peers', '0 is', 'Vote', '0 is'),
    contrasts.map(({ learningRate, against, peers, vote }) => [
      learningRate.toExponential(),
      against,
      String(peers.values.length),
      change(peers),
      verdict(peers),
      change(vote),
      verdict(vote),
    ]),
  );
  const summaries = [
    summary('the peers', contrasts, ({ peers }) => peers),
    summary('the vote', contrasts, ({ vote }) => vote),
  ];
  return `${changes}\n\n${differences}\n\n${summaries.join(' ')} Nothing is corrected for how many there are.`;
}

/** Where 0 is beside the interval. */
function verdict({ ci95 }: Estimate): string {
  if (ci95 === null) return 'not judged: fewer than two populations';
  if (ci95[0] > 0) return 'excluded: sigmoid is better';
  return ci95[1] < 0 ? 'excluded: sigmoid is worse' : 'not excluded';
}

function summary(
  whose: string,
  contrasts: readonly WeightingContrast[],
  differenceOf: (contrast: WeightingContrast) => Estimate,
): string {
  const intervals = contrasts.flatMap((contrast) => {
    const { ci95 } = differenceOf(contrast);
    return ci95 === null ? [] : [ci95];
  });
  const better = intervals.filter(([low]) => low > 0).length;
  const worse = intervals.filter(([, high]) => high < 0).length;
  return (
    `Of ${plural(intervals.length, 'difference')} of ${whose}, the sigmoid's weights are better in ${better} and worse in ${worse}; ` +
    `in ${intervals.length - better - worse} the interval does not exclude 0.`
  );
}
