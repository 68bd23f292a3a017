import type { Row, Target } from './row.js';

/** The rows as a table. */
export function renderRows(rows: readonly Row[], heading: string): string {
  const cells = [
    ['work', 'ours', 'peer', 'figure', 'target', ''],
    ...rows.map((row) => [
      row.work,
      row.ours,
      row.peer,
      row.figure === null ? '' : formatFigure(row.figure, row.target?.unit ?? '×'),
      row.target === null ? '' : formatTarget(row.target),
      [verdict(row), row.note].filter((part) => part !== '').join('; '),
    ]),
  ];
  const widths = cells[0].map((_, column) => Math.max(...cells.map((line) => line[column].length)));
  const lines = cells.map((line) =>
    line
      .map((cell, column) => cell.padEnd(widths[column]))
      .join('  ')
      .trimEnd(),
  );
  return [heading, ...lines].join('\n');
}

/** Milliseconds with three significant digits or all before the point. */
export function formatMs(ms: number): string {
  return `${ms.toFixed(ms < 100 ? 1 : 0)} ms`;
}

function formatFigure(value: number, unit: Target['unit']): string {
  if (unit === 'share') return `${Math.round(100 * value)} %`;
  if (unit === 'ms') return formatMs(value);
  return `${value.toFixed(2)} ${unit}`;
}

function formatTarget({ kind, value, unit }: Target): string {
  const figure = unit === 'share' ? `${100 * value} %` : `${value} ${unit}`;
  return `${kind === 'atLeast' ? '≥' : '≤'} ${figure}`;
}

function verdict({ met }: Row): string {
  if (met === null) return '';
  return met ? 'met' : 'not met';
}
