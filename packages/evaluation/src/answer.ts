/** A way of marking the final answer in a text. */
export type AnswerForm = 'boxed' | 'answer-is' | 'marker' | 'last-number';

/** Where to look for the final answer, first match wins. */
export interface AnswerOptions {
  readonly forms: readonly AnswerForm[];
  /** Accept nothing but a single number; an answer in any other shape counts as missing. */
  readonly numeric?: boolean;
}

/** For free text: `\boxed{…}`, "the answer is …", "A: …", and else the last number. */
export const DEFAULT_ANSWERS: AnswerOptions = { forms: ['boxed', 'answer-is', 'marker', 'last-number'] };

/** For text in which a missing marker means a missing answer, such as the demo peers' `… A 7`. */
export const WORD_PROBLEM_ANSWERS: AnswerOptions = { forms: ['marker'], numeric: true };

/** The final answer's place in a text: text = prefix + answer + rest. */
export interface AnswerSpan {
  readonly prefix: string;
  /** As written. */
  readonly answer: string;
}

/** Finds the final answer as written, or null where no form matches. A later mention beats an earlier one. */
export function findAnswer(text: string, options: AnswerOptions = DEFAULT_ANSWERS): AnswerSpan | null {
  for (const form of options.forms) {
    const found = FINDERS[form](text);
    if (found === null) continue;
    const canonical = canonicalAnswer(found.answer);
    if (options.numeric ? canonicalNumber(canonical) !== null : canonical !== '') return found;
  }
  return null;
}

/** The final answer in canonical form, or null. Two answers are equal when these strings are. */
export function extractAnswer(text: string, options: AnswerOptions = DEFAULT_ANSWERS): string | null {
  const found = findAnswer(text, options);
  return found === null ? null : canonicalAnswer(found.answer);
}

const NUMBER = String.raw`[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)`;

const FINDERS: Readonly<Record<AnswerForm, (text: string) => AnswerSpan | null>> = {
  boxed: findBoxed,
  'answer-is': (text) =>
    lastMatch(text, /\banswers?\s*(?:is|are|=|:)\s*:?\s*(?<answer>[^\n]+?)(?=\.?\s*$|\.\s|\n)/gim),
  marker: (text) => lastMatch(text, /(?:^|\s)A(?::\s*|\s+)(?<answer>[^\s:][^\n]*?)\.?\s*$/g, /\sA(?::|\s)/),
  'last-number': (text) => lastMatch(text, new RegExp(`(?<![\\w.])(?<answer>${NUMBER})(?![\\w])`, 'g')),
};

/** The last match; where `again` occurs inside its answer, the search goes on behind it. */
function lastMatch(text: string, pattern: RegExp, again?: RegExp): AnswerSpan | null {
  const match = [...text.matchAll(pattern)].at(-1);
  const answer = match?.groups?.['answer'];
  if (match === undefined || answer === undefined) return null;
  const start = match.index + match[0].indexOf(answer, match[0].length - match[0].trimStart().length);
  if (again?.test(` ${answer}`)) {
    const inner = lastMatch(answer, pattern, again);
    return inner === null ? null : { prefix: text.slice(0, start) + inner.prefix, answer: inner.answer };
  }
  return { prefix: text.slice(0, start), answer };
}

/** The content of the last `\boxed{…}`, braces matched; null if it is cut off. */
function findBoxed(text: string): AnswerSpan | null {
  const command = '\\boxed{';
  const at = text.lastIndexOf(command);
  if (at < 0) return null;
  const start = at + command.length;
  let depth = 1;
  for (let i = start; i < text.length; i++) {
    if (text[i] === '{') depth++;
    else if (text[i] === '}' && --depth === 0)
      return { prefix: text.slice(0, start), answer: text.slice(start, i) };
  }
  return null;
}

/**
 * One spelling for answers that mean the same: numbers without separators, units of currency, or trailing zeros;
 * simple fractions as decimals; named unknowns (`y = 4, x = 3` or `x = 3 and y = 4`) sorted by name; everything
 * else in lower case without LaTeX dressing or spaces.
 */
export function canonicalAnswer(raw: string): string {
  const plain = raw
    .replace(/\\(?:left|right|displaystyle|,|;|!|\s)/g, '')
    .replace(/\\d?t?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}/g, '$1/$2')
    .replace(/\\(?:text|mathrm|mathbf)\s*\{([^{}]*)\}/g, '$1')
    .replace(/\\[()[\]]|\$|€|£|\*\*/g, '')
    .trim()
    .replace(/[.;:!]+$/, '')
    .trim();
  const unknowns = namedUnknowns(plain);
  if (unknowns !== null) return unknowns;
  return canonicalValue(plain);
}

/** `x=3,y=4`, sorted by name, or null when the text is no list of named values. */
function namedUnknowns(text: string): string | null {
  const parts = text.split(/\s*(?:,(?!\d{3}\b)|;|\band\b)\s*/).filter((part) => part !== '');
  const pairs = parts.map((part) => /^([A-Za-z]\w*)\s*=\s*(.+)$/.exec(part));
  if (pairs.length === 0 || pairs.some((pair) => pair === null)) return null;
  if (pairs.length === 1) return canonicalValue(pairs[0]![2]);
  return pairs
    .map((pair) => `${pair![1]}=${canonicalValue(pair![2])}`)
    .sort()
    .join(',');
}

/** A number, or a number before its unit in words (`36 apples`), or else the bare text. */
function canonicalValue(text: string): string {
  const beforeUnit = /^([-+]?[\d.,/]+)\s+[A-Za-z]{2,}(?:\s+[A-Za-z]+)*$/.exec(text);
  const number = canonicalNumber(text) ?? (beforeUnit === null ? null : canonicalNumber(beforeUnit[1]));
  return (
    number ??
    text
      .toLowerCase()
      .replace(/\s+/g, ' ')
      .replace(/ ?([^\w ]) ?/g, '$1')
      .trim()
  );
}

/** A number or simple fraction, with 12 significant digits; null for anything else. */
function canonicalNumber(text: string): string | null {
  const compact = text
    .replace(/^([-+])\s+|\s*(\/)\s*/g, '$1$2')
    .replace(/,(?=\d{3}(?:\D|$))/g, '')
    .replace(/\\?%$/, '');
  const fraction = /^([-+]?[\d.]+)\/([-+]?[\d.]+)$/.exec(compact);
  const value = fraction ? parse(fraction[1]) / parse(fraction[2]) : parse(compact);
  return Number.isFinite(value) ? String(Number(value.toPrecision(12)) + 0) : null;
}

function parse(text: string): number {
  return /^[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?$/i.test(text) ? Number(text) : NaN;
}

/** How close two numbers must be. */
export interface EqualityOptions {
  /** Relative to the larger of the two and 1. */
  readonly tolerance?: number;
}

/**
 * True when two answers in canonical form mean the same: equal text, or numbers (also as values of the same named
 * unknowns) within the tolerance, 1e-6 unless given. Symmetric. Null equals nothing.
 */
export function answersEqual(
  a: string | null,
  b: string | null,
  { tolerance = 1e-6 }: EqualityOptions = {},
): boolean {
  if (a === null || b === null) return false;
  if (a === b) return true;
  const [left, right] = [a.split(','), b.split(',')];
  if (left.length !== right.length) return false;
  return left.every((part, i) => {
    const [x, y] = [splitName(part), splitName(right[i])];
    const [p, q] = [parse(x.value), parse(y.value)];
    if (x.name !== y.name) return false;
    if (Number.isNaN(p) || Number.isNaN(q)) return x.value === y.value;
    return Math.abs(p - q) <= tolerance * Math.max(1, Math.abs(p), Math.abs(q));
  });
}

function splitName(part: string): { name: string; value: string } {
  const at = part.indexOf('=');
  return { name: part.slice(0, Math.max(0, at)), value: part.slice(at + 1) };
}
