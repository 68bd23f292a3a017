import { FAMILIES, NAMES, OBJECTS } from './families.js';

/** One token a number: learned four times faster than digits at this size. */
export const NUMBER_WORDS: readonly string[] = Array.from({ length: 100 }, (_, n) => String(n));

/** Every word of questions, solutions and verdicts. */
export const WORD_PROBLEM_WORDS: readonly string[] = [
  ...['A', 'yes', 'no', ';', '=', '?'],
  ...NUMBER_WORDS,
  ...['+', '-', '*', '/'],
  ...FAMILIES.flatMap(({ template }) => template.split(' ')).filter((word) => !/^[NMOabc]$/.test(word)),
  ...NAMES,
  ...OBJECTS,
];
