/** A column of a table. */
export interface MarkdownColumn {
  heading: string;
  align?: 'left' | 'right';
}

/** A table as GitHub reads it. */
export function markdownTable(
  columns: readonly MarkdownColumn[],
  rows: readonly (readonly string[])[],
): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [
    line(columns.map(({ heading }) => heading)),
    `|${columns.map(({ align }) => (align === 'right' ? '--:' : '---')).join('|')}|`,
    ...rows.map(line),
  ].join('\n');
}

/** The first column to the left, all others to the right. */
export function figureColumns(first: string, ...others: string[]): MarkdownColumn[] {
  return [{ heading: first }, ...others.map((heading) => ({ heading, align: 'right' as const }))];
}
