import { answersEqual, canonicalAnswer, type EqualityOptions } from './answer.js';
import { sameAnswer } from './latex/same-answer.js';

/** True when two final answers as written mean the same: as {@link canonicalAnswer} spells them, or as formulas. */
export function isSameAnswer(given: string, expected: string, options: EqualityOptions = {}): boolean {
  return (
    answersEqual(canonicalAnswer(given), canonicalAnswer(expected), options) ||
    sameAnswer(given, expected, options)
  );
}
