import type { PlotOptions } from '@observablehq/plot';
import type { ChartLibrary } from './chart-library.js';

const ROW_PX = 32;
const MARGIN_TOP = 10;
const MARGIN_BOTTOM = 40;

/** Something with a line of its own in a chart. */
interface Row {
  /** No two are the same. */
  name: string;
  title: string;
}

/** A line for each row, from top to bottom; the marks find it by the row's name. Room is left for a figure to the right. */
export function rowAxis(rows: readonly Row[]): PlotOptions {
  return {
    marginLeft: 290,
    marginRight: 170,
    marginTop: MARGIN_TOP,
    marginBottom: MARGIN_BOTTOM,
    y: { domain: rows.map(({ name }) => name), label: null, type: 'band' },
  };
}

/** Titles to the left; those that are long take two lines. */
export function rowTitles({ plot }: ChartLibrary, rows: readonly Row[]) {
  const titles = new Map(rows.map(({ name, title }) => [name, title]));
  return plot.axisY({
    label: null,
    tickSize: 0,
    lineWidth: 21,
    tickFormat: (name: string) => titles.get(name) ?? name,
  });
}

/** A figure of each row at the right edge. */
export function rowFigure<T extends Row>(
  { plot }: ChartLibrary,
  rows: readonly T[],
  text: (row: T) => string,
) {
  return plot.text(rows, {
    y: 'name',
    text,
    frameAnchor: 'right',
    textAnchor: 'start',
    dx: 12,
    fontVariant: 'tabular-nums',
  });
}

/** What the plot of so many rows takes. */
export function rowsHeight(rows: readonly Row[]): number {
  return MARGIN_TOP + rows.length * ROW_PX + MARGIN_BOTTOM;
}
