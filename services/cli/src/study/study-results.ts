import { open, readFile, truncate } from 'node:fs/promises';
import { asDiskFull, ParleyError } from '@parley/runtime';
import type { CellResult } from './cell-result.js';
import type { StudyCell } from './study-cells.js';

/** The results of a study: one JSON object a line, only ever added to. */
export interface StudyResults {
  readonly path: string;
  readonly cells: readonly CellResult[];
  /** @throws ParleyError STUDY_INVALID if the cell is there with another definition */
  has(cell: StudyCell): boolean;
  /** Returns when the result is durable. @throws ParleyError DISK_FULL */
  append(result: CellResult): Promise<void>;
}

/**
 * Opens the results of a study, which need not be there yet. What a crash left of a last line is cut off: its cell is run
 * again.
 *
 * @throws ParleyError STUDY_INVALID naming the line that is no result
 */
export async function openStudyResults(path: string): Promise<StudyResults> {
  const cells = parseResults(path, await readWhole(path));
  const known = new Map(cells.map((cell) => [cell.cell, cell]));
  return {
    path,
    cells,
    has({ id, definition }) {
      const result = known.get(id);
      if (result === undefined || result.definition === definition) return result !== undefined;
      throw new ParleyError(
        'STUDY_INVALID',
        `${path} has a result of cell ${id} by another specification (recipe, peers, questions or measurement differ); ` +
          'give the study another --out, or the row or population another name',
      );
    },
    async append(result) {
      const line = `${JSON.stringify(result)}\n`;
      try {
        const file = await open(path, 'a');
        try {
          await file.writeFile(line);
          await file.sync();
        } finally {
          await file.close();
        }
      } catch (error) {
        throw asDiskFull(error, path, Buffer.byteLength(line));
      }
      cells.push(result);
      known.set(result.cell, result);
    },
  };
}

/** The lines of a file up to the last line end; the file is cut there. */
async function readWhole(path: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  if (whole.length < text.length) await truncate(path, Buffer.byteLength(whole));
  return whole;
}

/**
 * The results in the text of a file, each of its lines with its line end.
 *
 * @throws ParleyError STUDY_INVALID naming the line that is no result
 */
export function parseResults(path: string, text: string): CellResult[] {
  const seen = new Map<string, number>();
  return text
    .split('\n')
    .slice(0, -1)
    .map((line, index) => {
      const bad = (why: string) =>
        new ParleyError(
          'STUDY_INVALID',
          `${path}, line ${index + 1}: ${why}; restore the file or remove the line`,
        );
      let value: unknown;
      try {
        value = JSON.parse(line);
      } catch (error) {
        throw bad(`not valid JSON (${error instanceof Error ? error.message : String(error)})`);
      }
      const result = value as Partial<CellResult> | null;
      if (result?.format !== 'parley.study-cell/1' || typeof result.cell !== 'string') {
        throw bad('not the result of a cell of a study');
      }
      const first = seen.get(result.cell);
      if (first !== undefined) throw bad(`cell ${result.cell} is already on line ${first}`);
      seen.set(result.cell, index + 1);
      return result as CellResult;
    });
}
