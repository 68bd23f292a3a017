import { points } from '../../output/format.js';
import type { Comparison, Pair, RowOnPopulation } from '../report/compare-cells.js';
import { meanOfKnown } from '../report/row-figures.js';
import type { TaskFigures } from '../report/study-figures.js';
import { percentage } from './axis-format.js';
import type { Chart, ChartLibrary } from './chart-library.js';
import { COLOUR } from './colours.js';

const LINE_PX = 19;
const GAP_PX = 14;

interface Line extends Pair<number> {
  population: string;
  name: string;
  colour: string;
}

/** Of one row, each peer of each population before and after. */
export function peersChart({ plot }: ChartLibrary, { task, shown }: TaskFigures): Chart | undefined {
  const lines = shown?.populations.flatMap(linesOf) ?? [];
  if (shown === undefined || lines.length === 0) return undefined;
  const names = [...new Set(lines.map(({ name }) => name))];
  return {
    title: `Each peer before and after: ${shown.title} (${task})`,
    subtitle:
      'Greedy accuracy on held-out questions, mean over the seeds. Ring: untrained; disc: trained. Vote: majority of the peers.',
    plotHeight: shown.populations.length * (names.length * LINE_PX + GAP_PX) + 50,
    plot: {
      marginLeft: 170,
      marginRight: 90,
      marginTop: 10,
      marginBottom: 40,
      x: { label: null, grid: true, tickFormat: percentage, nice: true },
      y: { domain: names, label: null, tickSize: 0 },
      fy: { label: null, padding: 0.16, axis: null },
      marks: [
        plot.frame({ stroke: COLOUR.light }),
        plot.text(
          shown.populations.map(({ population }) => ({ population })),
          {
            fy: 'population',
            text: 'population',
            frameAnchor: 'left',
            dx: -150,
            textAnchor: 'start',
            fontWeight: 600,
          },
        ),
        plot.link(lines, {
          fy: 'population',
          x1: 'was',
          x2: 'is',
          y: 'name',
          stroke: 'colour',
          strokeWidth: 2.5,
        }),
        plot.dot(lines, {
          fy: 'population',
          x: 'was',
          y: 'name',
          r: 4.5,
          fill: '#ffffff',
          stroke: 'colour',
          strokeWidth: 1.8,
        }),
        plot.dot(lines, { fy: 'population', x: 'is', y: 'name', r: 5, fill: 'colour' }),
        plot.text(lines, {
          fy: 'population',
          y: 'name',
          text: ({ was, is }: Line) => points((is - was) / 100),
          frameAnchor: 'right',
          textAnchor: 'start',
          dx: 14,
          fontVariant: 'tabular-nums',
          fill: 'colour',
        }),
      ],
    },
  };
}

function linesOf({ population, comparisons }: RowOnPopulation): Line[] {
  const names = comparisons[0].peers.map(({ name }) => name);
  const line = (
    name: string,
    pair: (comparison: Comparison) => Pair<{ accuracy: number }> | undefined,
  ): Line => {
    const pairs = comparisons.map(pair);
    const was = 100 * meanOfKnown(pairs.map((one) => one?.was.accuracy));
    const is = 100 * meanOfKnown(pairs.map((one) => one?.is.accuracy));
    return { population, name, was, is, colour: is >= was ? COLOUR.blue : COLOUR.orange };
  };
  return [
    ...names.map((name) =>
      line(name, ({ peers }) => {
        const peer = peers.find((one) => one.name === name);
        return peer && { was: peer.was.greedy, is: peer.is.greedy };
      }),
    ),
    line('vote', ({ vote }) => vote),
  ].filter(({ was, is }) => !Number.isNaN(is - was));
}
