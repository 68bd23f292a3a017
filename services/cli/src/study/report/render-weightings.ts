import { plural } from '../../output/format.js';
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
    figureColumns('Learning rate', 'Sigmoid less', 'Populations', 'Difference', '0 is'),
    contrasts.map((contrast) => [
      contrast.learningRate.toExponential(),
      contrast.against,
      String(contrast.difference.values.length),
      change(contrast.difference),
      verdict(contrast),
    ]),
  );
  return `${changes}\n\n${differences}\n\n${summary(contrasts)}`;
}

/** Where 0 is beside the interval. */
function verdict({ difference: { ci95 } }: WeightingContrast): string {
  if (ci95 === null) return 'not judged: fewer than two populations';
  if (ci95[0] > 0) return 'excluded: sigmoid is better';
  return ci95[1] < 0 ? 'excluded: sigmoid is worse' : 'not excluded';
}

function summary(contrasts: readonly WeightingContrast[]): string {
  const judged = contrasts.filter(({ difference }) => difference.ci95 !== null);
  const better = judged.filter(({ difference }) => difference.ci95![0] > 0).length;
  const worse = judged.filter(({ difference }) => difference.ci95![1] < 0).length;
  return (
    `Of ${plural(judged.length, 'difference')}, the sigmoid's weights are better in ${better} and worse in ${worse}; ` +
    `in ${judged.length - better - worse} the interval does not exclude 0. Nothing is corrected for how many there are.`
  );
}
