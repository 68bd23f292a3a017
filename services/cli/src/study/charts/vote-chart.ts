import type { TaskFigures } from '../report/study-figures.js';
import { signed } from './axis-format.js';
import { CHART_WIDTH } from './chart-library.js';
import type { Chart, ChartLibrary } from './chart-library.js';
import { COLOUR } from './colours.js';

const MARGIN = { left: 80, right: 310, top: 20, bottom: 50 };
const LABEL_PX = 26;
const TICKS = 8;

interface Point {
  title: string;
  peers: number;
  vote: number;
  colour: string;
}

/** By row, what the peers gained alone against what their vote gained. */
export function voteChart({ plot }: ChartLibrary, { task, rows }: TaskFigures): Chart {
  const dots = rows
    .map(({ title, change, voteChange }) => ({
      title,
      peers: change.mean * 100,
      vote: voteChange.mean * 100,
    }))
    .filter(({ peers, vote }) => !Number.isNaN(peers + vote))
    .map((one): Point => ({ ...one, colour: partedWays(one) ? COLOUR.orange : COLOUR.blue }))
    .sort((a, b) => b.vote - a.vote);
  const x = padded(dots.map(({ peers }) => peers));
  const y = padded(dots.map(({ vote }) => vote));
  const plotHeight = Math.max(460, dots.length * LABEL_PX + MARGIN.top + MARGIN.bottom);
  // Titles stand at the right edge, evenly spaced in the order of their dots.
  const labels = dots.map((dot, i) => ({
    ...dot,
    edge: x[1],
    height: y[1] - ((i + 0.5) / dots.length) * (y[1] - y[0]),
  }));
  const corner = Math.max(x[0], y[0]);
  const end = Math.min(x[1], y[1]);
  return {
    title: `What the peers gain alone, and what their vote gains (${task})`,
    subtitle:
      'Mean change in points, one dot a row. Orange: the peers rose while their vote fell. Dashes: both change alike.',
    plotHeight,
    plot: {
      width: CHART_WIDTH,
      marginLeft: MARGIN.left,
      marginRight: MARGIN.right,
      marginTop: MARGIN.top,
      marginBottom: MARGIN.bottom,
      x: { domain: x, label: null, grid: true, ticks: TICKS, tickFormat: signed },
      y: { domain: y, label: null, grid: true, ticks: TICKS, tickFormat: signed },
      marks: [
        plot.axisX({
          label: 'peers, greedy, alone',
          labelAnchor: 'center',
          labelArrow: 'none',
          labelOffset: 38,
          ticks: TICKS,
          tickFormat: signed,
        }),
        plot.axisY({
          label: 'vote of the peers',
          labelAnchor: 'center',
          labelArrow: 'none',
          labelOffset: 58,
          ticks: TICKS,
          tickFormat: signed,
        }),
        plot.ruleX([0], { stroke: COLOUR.grey }),
        plot.ruleY([0], { stroke: COLOUR.grey }),
        plot.line(
          [
            [corner, corner],
            [end, end],
          ],
          { stroke: COLOUR.grey, strokeDasharray: '4 4' },
        ),
        plot.link(labels, { x1: 'peers', y1: 'vote', x2: 'edge', y2: 'height', stroke: COLOUR.light }),
        plot.dot(dots, { x: 'peers', y: 'vote', r: 6, fill: 'colour', stroke: '#ffffff' }),
        plot.text(labels, {
          x: 'edge',
          y: 'height',
          text: 'title',
          textAnchor: 'start',
          dx: 6,
          lineWidth: 23,
          fill: 'colour',
        }),
      ],
    },
  };
}

/** As far as one decimal shows it. */
function partedWays({ peers, vote }: { peers: number; vote: number }): boolean {
  return Math.round(peers * 10) > 0 && Math.round(vote * 10) < 0;
}

/** A domain with zero and some room at both ends. */
function padded(values: readonly number[]): [number, number] {
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const room = Math.max(0.5, (high - low) * 0.08);
  return [low - room, high + room];
}
