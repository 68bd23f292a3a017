import type { Benchmark, LabelledQuestion } from '@parley/evaluation';
import { lineError } from './text-lines.js';
import type { NumberedLine } from './text-lines.js';

/**
 * The field "answer" of a line: a text, or a list of the values of several unknowns; numbers are taken as their text.
 *
 * @param shape - what a benchmark's answers are; any unless given
 * @throws ParleyError PROMPT_FILE_INVALID naming file, line and field
 */
export function readAnswer(
  path: string,
  line: NumberedLine,
  answer: unknown,
  shape?: Benchmark['answerShape'],
): Pick<LabelledQuestion, 'answer' | 'values'> {
  const fail = (problem: string): never => {
    throw lineError(path, line.number, `"answer" ${problem}`);
  };
  if (answer === undefined) return fail('is missing');
  const isList = Array.isArray(answer);
  if (isList && answer.length === 0) return fail('is an empty list');
  if (isList && (shape === 'number' || shape === 'latex'))
    return fail(shape === 'number' ? 'is a list; write one number' : 'is a list; write one text');
  const read = (value: unknown): string => readText(path, line, value, 'answer');
  const isNumber = (text: string): boolean => Number.isFinite(Number(text));
  if (shape === 'number') {
    const text = read(answer);
    return isNumber(text) ? { answer: text } : fail('is not a number, such as 39');
  }
  if (!isList && shape !== 'numbers') return { answer: read(answer) };
  const values = (isList ? answer : [answer]).map(read);
  if (shape === 'numbers' && !values.every(isNumber))
    return fail('is not a list of numbers, such as [15, 9]');
  return { answer: values.join(', '), values };
}

/**
 * A field that is a text, trimmed; a number is taken as its text.
 *
 * @throws ParleyError PROMPT_FILE_INVALID naming file, line and field
 */
export function readText(path: string, line: NumberedLine, value: unknown, name: string): string {
  const text = typeof value === 'number' ? String(value) : value;
  if (typeof text === 'string' && text.trim() !== '') return text.trim();
  const problem = text === undefined ? 'is missing' : typeof text === 'string' ? 'is empty' : 'is not a text';
  throw lineError(path, line.number, `"${name}" ${problem}`);
}
