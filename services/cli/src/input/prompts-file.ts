import type { Readable } from 'node:stream';
import type { LabelledQuestion } from '@parley/evaluation';
import { lineError, readLines } from './text-lines.js';
import type { NumberedLine } from './text-lines.js';

/** A question as a user's file gives it. */
export interface PromptLine {
  promptId: string;
  question: string;
}

/** Longest id that a run takes. */
const MAX_ID_CHARS = 128;

/**
 * Questions without answers. A file whose first line is a JSON object is JSONL, `{"question": …, "id"?: …}` a line;
 * any other is one question a line. Questions without an id are called by their line: `line-12`.
 *
 * @param path - a file, or `-` for standard input
 * @throws ParleyError PROMPT_FILE_INVALID naming file and line
 */
export async function readPrompts(path: string, stdin: Readable): Promise<PromptLine[]> {
  const lines = await readLines(path, stdin, 'questions');
  const jsonl = lines[0]?.text.startsWith('{') ?? false;
  const prompts = lines.map((line) => {
    const fields = jsonl ? parseLine(path, line) : { question: line.text };
    const promptId = idOf(path, line, fields) ?? `line-${line.number}`;
    return { promptId, question: textOf(path, line, fields, 'question') };
  });
  refuseRepeatedIds(
    path,
    lines,
    prompts.map(({ promptId }) => promptId),
  );
  return prompts;
}

/**
 * Questions with their answers: JSONL, `{"question": …, "answer": …, "id"?: …}` a line. A number is taken as its text, and a list
 * as the values of several unknowns.
 *
 * @throws ParleyError PROMPT_FILE_INVALID naming file and line
 */
export async function readLabelledQuestions(path: string, stdin: Readable): Promise<LabelledQuestion[]> {
  const lines = await readLines(path, stdin, 'questions');
  const questions = lines.map((line) => {
    const fields = parseLine(path, line);
    return {
      promptId: idOf(path, line, fields) ?? `line-${line.number}`,
      question: textOf(path, line, fields, 'question'),
      answer: answerOf(path, line, fields),
    };
  });
  refuseRepeatedIds(
    path,
    lines,
    questions.map(({ promptId }) => promptId),
  );
  return questions;
}

function parseLine(path: string, { number, text }: NumberedLine): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw lineError(path, number, `not valid JSON (${why}); write one object a line, {"question": "…"}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw lineError(path, number, 'not a JSON object; write {"question": "…"}');
  }
  return value as Record<string, unknown>;
}

function textOf(path: string, line: NumberedLine, fields: Record<string, unknown>, name: string): string {
  const value = fields[name];
  const text = typeof value === 'number' ? String(value) : value;
  if (typeof text === 'string' && text.trim() !== '') return text.trim();
  const problem = text === undefined ? 'is missing' : typeof text === 'string' ? 'is empty' : 'is not a text';
  throw lineError(path, line.number, `"${name}" ${problem}`);
}

function answerOf(path: string, line: NumberedLine, fields: Record<string, unknown>): string {
  const { answer } = fields;
  if (!Array.isArray(answer)) return textOf(path, line, fields, 'answer');
  if (answer.length === 0) throw lineError(path, line.number, '"answer" is an empty list');
  return answer.map((value: unknown) => textOf(path, line, { answer: value }, 'answer')).join(', ');
}

function idOf(path: string, line: NumberedLine, fields: Record<string, unknown>): string | undefined {
  if (fields['id'] === undefined) return undefined;
  const id = textOf(path, line, fields, 'id');
  if (id.length <= MAX_ID_CHARS && !/\s/.test(id)) return id;
  throw lineError(path, line.number, `"id" has white space or more than ${MAX_ID_CHARS} characters`);
}

function refuseRepeatedIds(path: string, lines: readonly NumberedLine[], ids: readonly string[]): void {
  const firstLine = new Map<string, number>();
  for (const [index, id] of ids.entries()) {
    const number = lines[index]?.number ?? 0;
    const first = firstLine.get(id);
    if (first !== undefined) throw lineError(path, number, `id "${id}" is already used on line ${first}`);
    firstLine.set(id, number);
  }
}
