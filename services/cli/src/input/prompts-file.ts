import type { Readable } from 'node:stream';
import { asksForOne } from '@parley/evaluation';
import type { Benchmark, LabelledQuestion } from '@parley/evaluation';
import { readAnswer, readText } from './answer-field.js';
import { lineError, readInput, readLines } from './text-lines.js';
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
  return (await readQuestionFile(path, stdin)).questions;
}

/** Questions with their answers, and the digest of the file they come from. */
export interface QuestionFile {
  questions: LabelledQuestion[];
  sha256: string;
}

/**
 * {@link readLabelledQuestions}; for a benchmark, answers must be of its shape, and fields may have the names of its original.
 *
 * @throws ParleyError PROMPT_FILE_INVALID naming file, line and field
 */
export async function readQuestionFile(
  path: string,
  stdin: Readable,
  benchmark?: Benchmark,
): Promise<QuestionFile> {
  const { lines, sha256 } = await readInput(path, stdin, 'questions');
  const questions = lines.map((line) => {
    const fields = withOurNames(parseLine(path, line), benchmark?.otherNames);
    const question = textOf(path, line, fields, 'question');
    const answer = readAnswer(path, line, fields['answer'], benchmark?.answerShape);
    return {
      promptId: idOf(path, line, fields) ?? `line-${line.number}`,
      question,
      ...answer,
      ...(isAskedForFirst(benchmark, question, answer.values) && { asksForFirst: true }),
    };
  });
  refuseRepeatedIds(
    path,
    lines,
    questions.map(({ promptId }) => promptId),
  );
  return { questions, sha256 };
}

function isAskedForFirst(benchmark: Benchmark | undefined, question: string, values: readonly string[] = []) {
  return benchmark?.name === 'simuleq' && values.length > 1 && asksForOne(question);
}

function withOurNames(
  fields: Record<string, unknown>,
  otherNames: Readonly<Record<string, string>> = {},
): Record<string, unknown> {
  const renamed = Object.entries(otherNames).map(([ours, other]) => [ours, fields[ours] ?? fields[other]]);
  return { ...fields, ...(Object.fromEntries(renamed) as Record<string, unknown>) };
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
  return readText(path, line, fields[name], name);
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
