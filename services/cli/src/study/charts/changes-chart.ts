import { points, pointsInterval } from '../../output/format.js';
import type { RowFigures } from '../report/row-figures.js';
import type { TaskFigures } from '../report/study-figures.js';
import { signed } from './axis-format.js';
import type { Chart, ChartLibrary } from './chart-library.js';
import { COLOUR } from './colours.js';
import { rowAxis, rowFigure, rowsHeight, rowTitles } from './row-axis.js';

/** Every row's mean change with its interval, the best first, and below it the populations. */
export function changesChart(library: ChartLibrary, { task, rows }: TaskFigures): Chart {
  const { plot } = library;
  const ranked = rows
    .filter(({ change }) => change.values.length > 0)
    .sort((a, b) => b.change.mean - a.change.mean);
  const intervals = ranked.flatMap(({ name, change: { ci95 }, change }) =>
    ci95 ? [{ name, low: ci95[0] * 100, high: ci95[1] * 100, colour: verdict(change) }] : [],
  );
  return {
    title: `Change of the peers' greedy accuracy (${task})`,
    subtitle:
      'In points. Line: mean with its 95 % t-interval over the populations. Grey dots: populations, mean of peers and seeds.',
    plotHeight: rowsHeight(ranked),
    plot: {
      ...rowAxis(ranked),
      x: { label: null, grid: true, tickFormat: signed, nice: true },
      marks: [
        rowTitles(library, ranked),
        plot.ruleX([0], { stroke: COLOUR.grey }),
        plot.dot(
          ranked.flatMap(({ name, change }) =>
            change.values.map(({ value }) => ({ name, value: value * 100 })),
          ),
          { x: 'value', y: 'name', dy: 8, r: 3, fill: COLOUR.grey, fillOpacity: 0.55 },
        ),
        plot.link(intervals, {
          x1: 'low',
          x2: 'high',
          y: 'name',
          stroke: 'colour',
          strokeWidth: 3,
          dy: -3,
        }),
        plot.dot(ranked, {
          x: ({ change }: RowFigures) => change.mean * 100,
          y: 'name',
          dy: -3,
          r: 6,
          fill: ({ change }: RowFigures) => verdict(change),
          stroke: '#ffffff',
        }),
        rowFigure(
          library,
          ranked,
          ({ change: { mean, ci95 } }) => `${points(mean)}${ci95 ? `  ${pointsInterval(ci95)}` : ''}`,
        ),
      ],
    },
  };
}

/** Blue for an interval above zero, orange for one below it, grey for one that says nothing. */
function verdict({ ci95 }: RowFigures['change']): string {
  if (ci95 && ci95[0] > 0) return COLOUR.blue;
  return ci95 && ci95[1] < 0 ? COLOUR.orange : COLOUR.grey;
}
