import { createRandom } from '@parley/pst';
import { Complex } from 'complex.js';
import { parseExpression } from './expression.js';
import type { Expression } from './expression.js';
import { readTokens } from './tokens.js';

/** Points at which expressions with variables are compared: agreeing at all of them by chance is out of the question. */
const points = 5;
/** Characters of the longest answer that is read as more than text. */
const longestAnswer = 1000;
/** Relative difference below which two values at a point count as equal. */
const exactTolerance = 1e-9;

/** How close two numbers must be, relative to the larger of the two and 1. */
export interface SameAnswerOptions {
  /** Default 1e-6. */
  readonly tolerance?: number;
}

/**
 * Whether two final answers in LaTeX or plain text mean the same, as answers to the MATH benchmark (Hendrycks et al., 2021) are
 * compared: numbers however they are written (fractions, mixed numbers, decimals, percentages, radicals, thousands separators), with or
 * without units and degree signs; expressions in variables by their values at random complex points (Schwartz, 1980); equations up to a
 * factor; tuples and intervals part by part; sets, unions, lists of roots and `±` in any order; matrices; words without regard to case.
 */
export function sameAnswer(
  given: string,
  expected: string,
  { tolerance = 1e-6 }: SameAnswerOptions = {},
): boolean {
  if (Math.max(given.length, expected.length) > longestAnswer) return given.trim() === expected.trim();
  const others = readings(expected);
  return readings(given).some((reading) => others.some((other) => same(reading, other, tolerance)));
}

/** `137, 388` is two numbers, or one with a space too many. */
function readings(text: string): string[] {
  return [...new Set([plain(text, /,\s*|\s+/), plain(text, /,|\s+/)])];
}

function same(a: string, b: string, tolerance: number): boolean {
  if (a === b) return a !== '';
  if (a === '' || b === '') return false;
  if (isText(a) || isText(b)) return bareText(a) === bareText(b);
  const [left, right] = [shapeOf(a), shapeOf(b)];
  if (left.kind === 'value' && right.kind === 'value') return sameValue(a, b, tolerance);
  if (left.kind === 'equation' && right.kind === 'equation')
    return sameEquation(left.parts, right.parts, tolerance);
  if (left.kind === 'unordered' && right.kind === 'unordered')
    return sameParts(left.parts, right.parts, tolerance);
  if (left.kind === 'ordered' && right.kind === 'ordered') {
    if (left.brackets !== right.brackets || left.parts.length !== right.parts.length) return false;
    return left.parts.every((part, i) => same(part, right.parts[i], tolerance));
  }
  // A solution without its variable: `x = 5` against `5`.
  const [equation, other] = left.kind === 'equation' ? [left, b] : [right, a];
  if (equation.kind !== 'equation' || !isVariable(equation.parts[0])) return false;
  return same(equation.parts[1], other, tolerance);
}

/** What an answer is made of. */
type Shape =
  | { readonly kind: 'value' }
  /** Sets, lists of roots and unions. */
  | { readonly kind: 'unordered'; readonly parts: readonly string[] }
  /** Tuples, intervals and matrices, which differ by their brackets. */
  | { readonly kind: 'ordered'; readonly parts: readonly string[]; readonly brackets: string }
  | { readonly kind: 'equation'; readonly parts: readonly [string, string] };

function shapeOf(text: string): Shape {
  const matrix = /^\\begin\{(?:[pbvBV]?matrix|array)\}(?:\{[clr|]*\})?(.*)\\end\{\w+\}$/.exec(text);
  if (matrix) {
    const rows = matrix[1].split('\\\\').filter((row) => row !== '');
    const width = rows[0]?.split('&').length ?? 0;
    return {
      kind: 'ordered',
      parts: rows.flatMap((row) => row.split('&')),
      brackets: `${rows.length}×${width}`,
    };
  }
  const union = splitOutside(text, '\\cup');
  if (union.length > 1) return { kind: 'unordered', parts: union };
  const set = /^\\\{(.*)\\\}$/.exec(text);
  if (set && isBalanced(set[1]))
    return { kind: 'unordered', parts: splitOutside(set[1], ',').flatMap(bothSigns) };
  const parts = splitOutside(text, ',');
  if (parts.length > 1) return { kind: 'unordered', parts: parts.flatMap(bothSigns) };
  const bracketed = /^([([])(.*)([)\]])$/.exec(text);
  if (bracketed && isBalanced(bracketed[2])) {
    const inner = splitOutside(bracketed[2], ',');
    if (inner.length > 1) return { kind: 'ordered', parts: inner, brackets: bracketed[1] + bracketed[3] };
  }
  const signs = bothSigns(text);
  if (signs.length > 1) return { kind: 'unordered', parts: signs };
  const sides = splitOutside(text, '=');
  return sides.length === 2 ? { kind: 'equation', parts: [sides[0], sides[1]] } : { kind: 'value' };
}

/** `a ± b` as `a + b` and `a − b`. */
function bothSigns(text: string): string[] {
  return text.includes('\\pm') ? [text.replaceAll('\\pm', '+'), text.replaceAll('\\pm', '-')] : [text];
}

/** Parts between separators that stand outside all brackets; thousands separators are none. */
function splitOutside(text: string, separator: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    if ('([{'.includes(text[i])) depth++;
    else if (')]}'.includes(text[i])) depth--;
    else if (depth === 0 && text.startsWith(separator, i)) {
      parts.push(text.slice(start, i));
      start = i + separator.length;
    }
  }
  return [...parts, text.slice(start)];
}

function isBalanced(text: string): boolean {
  let depth = 0;
  for (const character of text) {
    if ('([{'.includes(character)) depth++;
    else if (')]}'.includes(character) && --depth < 0) return false;
  }
  return depth === 0;
}

/** Whether every part of one list has a part of the other to itself. */
function sameParts(a: readonly string[], b: readonly string[], tolerance: number): boolean {
  if (a.length !== b.length) return false;
  const free = [...b];
  return a.every((part) => {
    const found = free.findIndex((other) => same(part, other, tolerance));
    if (found >= 0) free.splice(found, 1);
    return found >= 0;
  });
}

function isVariable(text: string): boolean {
  return /^\\?[A-Za-z]+(?:_\{?\w+\}?)?$/.test(text) && parseExpression(text)?.variables.size === 1;
}

function sameValue(a: string, b: string, tolerance: number): boolean {
  const [left, right] = [parseExpression(a), parseExpression(b)];
  if (left === null || right === null) return bareText(a) === bareText(b) && bareText(a) !== '';
  const names = new Set([...left.variables, ...right.variables]);
  if (names.size === 0) return close(left.evaluate(none), right.evaluate(none), tolerance);
  return samples(names).every((valueOf) =>
    close(left.evaluate(valueOf), right.evaluate(valueOf), exactTolerance),
  );
}

/** Whether two equations have the same difference of their sides, up to a factor. */
function sameEquation(
  a: readonly [string, string],
  b: readonly [string, string],
  tolerance: number,
): boolean {
  if (a[0] === b[0] && same(a[1], b[1], tolerance)) return true;
  const sides = [...a, ...b].map(parseExpression);
  if (sides.some((side) => side === null)) return false;
  const names = new Set(sides.flatMap((side) => [...side!.variables]));
  const ratios = samples(names).map((valueOf) => {
    const [p, q, r, s] = (sides as Expression[]).map((side) => side.evaluate(valueOf));
    return p.sub(q).div(r.sub(s));
  });
  return ratios.every((ratio) => ratio.abs() > exactTolerance && close(ratio, ratios[0], exactTolerance));
}

function none(variable: string): never {
  throw new Error(`The expression has no variable ${variable}.`);
}

/** Random complex values of the variables, the same at every call. */
function samples(names: ReadonlySet<string>): ((variable: string) => Complex)[] {
  const sorted = [...names].sort();
  return Array.from({ length: points }, (_, point) => {
    const random = createRandom(BigInt(point + 1));
    const uniform = (): number => 0.3 + random.uint32() / 2 ** 32;
    const values = new Map(sorted.map((name) => [name, new Complex(uniform(), uniform())]));
    return (variable) => values.get(variable)!;
  });
}

function close(a: Complex, b: Complex, tolerance: number): boolean {
  // Of what is not finite, only ±∞ as written is a value; 1/0 is none.
  if (!a.isFinite() || !b.isFinite()) return a.im === 0 && b.im === 0 && a.re === b.re;
  return a.sub(b).abs() <= tolerance * Math.max(1, a.abs(), b.abs());
}

/** Whether an answer is words: set as text, or a word that is no product of variables to anybody and names no function. */
function isText(text: string): boolean {
  if (text.startsWith('\\text')) return true;
  return /^[A-Za-z][A-Za-z ]{2,}$/.test(text) && !readTokens(text)?.some(({ kind }) => kind === 'command');
}

/** Words as they are compared: `\text{(B)}` is `b`. */
function bareText(text: string): string {
  return text
    .replaceAll('\\text', '')
    .toLowerCase()
    .replace(/[\s().{}_]/g, '');
}

/**
 * An answer without what says nothing: dollar signs, spacing, sizes of brackets, units, degree and percent signs, a name for a set.
 *
 * @param thousandsSeparator - what may stand in front of three digits of the same number
 */
function plain(text: string, thousandsSeparator: RegExp): string {
  const rest = text
    .replace(/,\s*\\!\s*/g, ',')
    .replace(/(?<!\\)\\[!,;: ]|~|\\(?:left|right|displaystyle|limits|quad|qquad|big|Big)(?![A-Za-z])/g, ' ')
    .replace(/\\[()[\]](?![A-Za-z])/g, (delimiter) => (/[()]/.test(delimiter) ? '' : delimiter))
    .replace(/\\?\$|\^\s*\{?\s*\\circ\s*\}?|\\degree|°|\\?%|€|£/g, '')
    .replace(/\\(?:mbox|textrm|mathrm|textbf|mathbf|textit|textnormal)(?![A-Za-z])/g, '\\text')
    .trim()
    .replace(/[.;:]+$/, '');
  const words = /^\\text\s*\{([^{}]*)\}$/.exec(rest.trim());
  if (words) return `\\text{${words[1]}}`;
  // `3 and 4` is a list.
  const parts = /\d/.test(rest) ? rest.split(/,?\s+(?:\\text\s*\{\s*and\s*\}|and)\s+/) : [rest];
  return parts.map((part) => withoutUnits(part, thousandsSeparator)).join(',');
}

function withoutUnits(text: string, thousandsSeparator: RegExp): string {
  // Units, with their power: `15 \text{ cm}^2`, `36 apples`.
  let rest = text.replace(/\\text\s*\{[^{}]*\}(?:\s*\^\s*(?:\d|\{\d\}))?/g, ' ');
  rest = rest.replace(/^([-+]?[\d.,/]+)\s+[A-Za-z]{2,}(?:\s+[A-Za-z]+)*(?:\s*\^\s*\d)?$/, '$1');
  rest = rest
    .replace(/^\s*\\?[A-Za-z]\s*\\in(?![A-Za-z])/, '')
    .replace(/\\\{\s*|\s*\\\}/g, (brace) => brace.trim());
  return thousands(rest, thousandsSeparator)
    .replace(/\s+/g, (_, at: number, all: string) => separatesWords(all, at))
    .trim();
}

/** Takes the separators out of numbers such as `11, 111, 100`, unless they stand inside brackets, where they separate parts. */
function thousands(text: string, separator: RegExp): string {
  return new RegExp(`^\\s*[-+]?\\d{1,3}(?:(?:${separator.source})\\d{3})+(?:\\.\\d+)?\\s*$`).test(text)
    ? text.replace(/[,\s]/g, '')
    : text;
}

/** White space is kept where it keeps a command and a letter, or two words or numbers, apart. */
function separatesWords(text: string, at: number): string {
  return /[A-Za-z\d]$/.test(text.slice(0, at)) && /^\s+[A-Za-z\d]/.test(text.slice(at)) ? ' ' : '';
}
