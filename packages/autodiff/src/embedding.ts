import type { Graph, Value } from '@parley/graph';
import { AutodiffError } from './autodiff-error.js';
import type { Rule } from './rule.js';

/**
 * Looks up `table [vocabulary, width]` at integer `ids`, like `gather`, for tables too large to scatter into in the
 * graph. The table's own gradient leaves these rows out: ask for the gradient of the *returned rows*, fetch it, and add
 * it to the table's (from a tied head, or zeros) with {@link addRowGradients}. Asking for the table's gradient alone is
 * refused when the gradient is built.
 */
export function embedding(g: Graph, table: Value, ids: Value): Value {
  const rows = g.gather(table, ids);
  g.composite({ kind: 'Embedding', inputs: [table, ids], outputs: [rows], saved: {}, options: {} });
  return rows;
}

/** No gradient to the table, provided that the caller fetches the rows'. */
export const embeddingRule: Rule = ({ x: [table], y: [rows], needs, wrt }) => {
  if (needs[0] && !wrt.has(rows))
    throw new AutodiffError(
      `embedding: the gradient of ${table.name} leaves out the rows that ${rows.name} looked up; ask for the gradient of ` +
        `${rows.name} too and add it with addRowGradients, or use gather`,
    );
  return [null, null];
};

/**
 * `tableGradient[ids[i]] += rowGradients[i]` for every i, in order, so that the sum is the same at every run.
 * @param width Elements of one row.
 * @throws RangeError when an id is outside the table.
 */
export function addRowGradients(
  tableGradient: Float32Array,
  ids: BigInt64Array | Int32Array,
  rowGradients: Float32Array,
  width: number,
): void {
  const rows = tableGradient.length / width;
  for (let i = 0; i < ids.length; i++) {
    const id = Number(ids[i]);
    if (id < 0 || id >= rows)
      throw new RangeError(`addRowGradients: id ${id} is outside a table of ${rows} rows`);
    const to = id * width;
    const from = i * width;
    for (let j = 0; j < width; j++) tableGradient[to + j] += rowGradients[from + j];
  }
}
