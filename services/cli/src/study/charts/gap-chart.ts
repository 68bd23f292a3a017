import { points } from '../../output/format.js';
import { relativeChange } from '../report/format-figures.js';
import type { TaskFigures } from '../report/study-figures.js';
import type { Chart, ChartLibrary } from './chart-library.js';
import { COLOUR } from './colours.js';
import { rowAxis, rowFigure, rowsHeight, rowTitles } from './row-axis.js';

/** By row, the generator–verifier gap before and after. */
export function gapChart(library: ChartLibrary, { task, rows }: TaskFigures): Chart | undefined {
  const { plot } = library;
  const measured = rows
    .map(({ name, title, gap }) => ({ name, title, was: gap.was * 100, is: gap.is * 100 }))
    .filter(({ was, is }) => !Number.isNaN(was + is))
    .map((row) => ({ ...row, colour: direction(row.is - row.was) }));
  if (measured.length === 0) return undefined;
  return {
    title: `Generator–verifier gap before and after (${task})`,
    subtitle:
      'In points: accuracy of the sample that the peer finds likeliest, less that of its samples. Ring: untrained; disc: trained.',
    plotHeight: rowsHeight(measured),
    plot: {
      ...rowAxis(measured),
      x: { label: null, grid: true, zero: true, nice: true },
      marks: [
        rowTitles(library, measured),
        plot.ruleX([0], { stroke: COLOUR.grey }),
        plot.link(measured, { x1: 'was', x2: 'is', y: 'name', stroke: 'colour', strokeWidth: 2.5 }),
        plot.dot(measured, {
          x: 'was',
          y: 'name',
          r: 5,
          fill: '#ffffff',
          stroke: 'colour',
          strokeWidth: 1.8,
        }),
        plot.dot(measured, { x: 'is', y: 'name', r: 5.5, fill: 'colour' }),
        rowFigure(
          library,
          measured,
          ({ was, is }) => `${points((is - was) / 100)}  (${relativeChange({ was, is })})`,
        ),
      ],
    },
  };
}

/** Of a change in points, as far as one decimal shows it. */
function direction(change: number): string {
  const tenths = Math.round(change * 10);
  if (tenths === 0) return COLOUR.grey;
  return tenths < 0 ? COLOUR.blue : COLOUR.orange;
}
