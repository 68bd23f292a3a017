import type { TaskFigures } from '../report/study-figures.js';
import type { WeightedRow, WeightingFigures } from '../report/weighting-figures.js';
import { signed } from './axis-format.js';
import type { Chart, ChartLibrary } from './chart-library.js';
import { COLOUR } from './colours.js';

const COLOURS = [COLOUR.blue, COLOUR.orange, COLOUR.green, COLOUR.purple, COLOUR.grey];
const SYMBOLS = ['circle', 'square', 'triangle', 'diamond', 'star'] as const;
/** Between neighbours at the same learning rate, so that their intervals stand apart. */
const NUDGE_PX = 9;
const LEGEND_PX = 120;

/** Mean change by learning rate, a line each for the ways of weighing. */
export function learningRateChart(
  { plot }: ChartLibrary,
  task: TaskFigures,
  { rows }: WeightingFigures,
): Chart {
  const weightings = [...new Set(rows.map(({ weighting }) => weighting))];
  const rates = [...new Set(rows.map(({ learningRate }) => learningRate))].sort((a, b) => a - b);
  const legend = weightings.map((weighting, i) => ({ weighting, i }));
  return {
    title: `PMI weights beside their controls, by learning rate (${task.task})`,
    subtitle:
      "Mean change of the peers' greedy accuracy in points, with its 95 % t-interval over the populations.",
    plotHeight: 420,
    plot: {
      marginLeft: 60,
      marginRight: 40,
      marginTop: 40,
      marginBottom: 50,
      x: { type: 'log', domain: [rates[0] / 1.4, rates[rates.length - 1] * 1.4] },
      y: { label: null, grid: true, ticks: 7, tickFormat: signed, nice: true },
      marks: [
        plot.axisX(rates, {
          label: 'learning rate',
          labelAnchor: 'center',
          labelArrow: 'none',
          labelOffset: 38,
          tickFormat: (rate: number) => rate.toExponential().replace('-', '−'),
        }),
        plot.ruleY([0], { stroke: COLOUR.grey }),
        ...legend.flatMap(({ weighting, i }) => {
          const own = rows.filter((row) => row.weighting === weighting);
          const common = { dx: (i - (weightings.length - 1) / 2) * NUDGE_PX, x: 'learningRate' };
          const stroke = COLOURS[i % COLOURS.length];
          return [
            plot.line(own, { ...common, y: mean, stroke, strokeWidth: 1.5, strokeOpacity: 0.6 }),
            plot.ruleX(
              own.filter(({ change }) => change.ci95 !== null),
              { ...common, y1: bound(0), y2: bound(1), stroke, strokeWidth: 2 },
            ),
            plot.dot(own, { ...common, y: mean, r: 5.5, fill: stroke, symbol: SYMBOLS[i % SYMBOLS.length] }),
            plot.dot([weighting], {
              frameAnchor: 'top-left',
              dx: 10 + i * LEGEND_PX,
              dy: -24,
              r: 5.5,
              fill: stroke,
              symbol: SYMBOLS[i % SYMBOLS.length],
            }),
            plot.text([weighting], {
              frameAnchor: 'top-left',
              textAnchor: 'start',
              lineAnchor: 'middle',
              dx: 22 + i * LEGEND_PX,
              dy: -24,
            }),
          ];
        }),
      ],
    },
  };
}

function mean({ change }: WeightedRow): number {
  return change.mean * 100;
}

function bound(side: 0 | 1): (row: WeightedRow) => number {
  return ({ change }) => (change.ci95?.[side] ?? NaN) * 100;
}
