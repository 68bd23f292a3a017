import type { EqualityOptions } from './answer.js';
import { isSameAnswer } from './is-same-answer.js';

/** Whole numbers are counts and the like: only what rounding of the text itself does to them is let pass. */
const WHOLE_TOLERANCE = 1e-6;

/**
 * True when a final answer as written gives the values of all unknowns, each once, in any order: `15, 9`, `9 and 15`,
 * `x = 15, y = 9`, `(15, 9)`, `15 novelists and 9 poets`. Names are not compared, since the expected values have none. The
 * tolerance is for values that are not whole.
 */
export function sameValues(
  given: string,
  expected: readonly string[],
  { tolerance = WHOLE_TOLERANCE }: EqualityOptions = {},
): boolean {
  const same = (part: string, value: string): boolean =>
    isSameAnswer(part, value, {
      tolerance: Number.isInteger(Number(value)) ? Math.min(tolerance, WHOLE_TOLERANCE) : tolerance,
    });
  return readings(given).some((parts) => {
    if (parts.length !== expected.length) return false;
    const free = [...parts];
    return expected.every((value) => {
      const found = free.findIndex((part) => same(part, value));
      if (found >= 0) free.splice(found, 1);
      return found >= 0;
    });
  });
}

/** An answer's parts. A comma before three digits may separate thousands or parts: both readings are given. */
function readings(given: string): string[][] {
  const inner = given
    .replace(/\\(?:left|right|quad|qquad)(?![A-Za-z])|\\[,;:! ]/g, ' ')
    .replace(/\\(?:text|mbox|mathrm|textbf|mathbf)\s*\{\s*(,?\s*and\s*,?)\s*\}/g, ' $1 ')
    .trim()
    .replace(/^(?:\\\(|\$)+|(?:\\\)|\$)+$/g, '')
    .trim()
    .replace(/^(?:\(|\[|\\\{)(.*)(?:\)|\]|\\\})$/s, '$1');
  const separators = [/;|\n|\\\\|\band\b|,(?!\d{3}(?!\d))/, /;|\n|\\\\|\band\b|,/];
  return separators.map((separator) =>
    inner
      .split(separator)
      .map(withoutName)
      .filter((part) => part !== ''),
  );
}

/** `15` of `x = 15` and `novelists: 15`. */
function withoutName(part: string): string {
  return (part.split(/=|:|\\approx(?![A-Za-z])|≈/).at(-1) ?? '').trim();
}
