/** A column: its heading and on which side its cells line up. */
export interface Column {
  heading: string;
  align?: 'left' | 'right';
}

/**
 * A table in plain text: a heading, a rule, one line a row, two spaces between columns, no space at a line's end.
 */
export function renderTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map(({ heading }, index) =>
    Math.max(width(heading), ...rows.map((row) => width(row[index] ?? ''))),
  );
  const line = (cells: readonly string[]) =>
    columns
      .map(({ align = 'left' }, index) => pad(cells[index] ?? '', widths[index] ?? 0, align))
      .join('  ')
      .trimEnd();
  const rule = widths.map((length) => '─'.repeat(length)).join('──');
  return [line(columns.map(({ heading }) => heading)), rule, ...rows.map(line)].join('\n');
}

function pad(text: string, length: number, align: 'left' | 'right'): string {
  const fill = ' '.repeat(Math.max(0, length - width(text)));
  return align === 'left' ? text + fill : fill + text;
}

/** Code points, which is the width of everything Parley prints (no East Asian or combining characters). */
function width(text: string): number {
  return [...text].length;
}
