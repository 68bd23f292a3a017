import { readFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { ParleyError, sha256 } from '@parley/runtime';

/** A line of an input with its number, counted from 1. */
export interface NumberedLine {
  number: number;
  text: string;
}

/** An input that was read. */
export interface TextInput {
  lines: NumberedLine[];
  /** Of its bytes. */
  sha256: string;
}

/** The lines of {@link readInput}. */
export async function readLines(path: string, stdin: Readable, what: string): Promise<NumberedLine[]> {
  return (await readInput(path, stdin, what)).lines;
}

/**
 * The lines of a file, or of standard input for `-`. Blank lines are left out but counted.
 *
 * @param what - what the file should hold, for messages: `questions`
 * @throws ParleyError PROMPT_FILE_INVALID naming the file if it cannot be read, is not UTF-8 or holds no line
 */
export async function readInput(path: string, stdin: Readable, what: string): Promise<TextInput> {
  const name = inputName(path);
  const bytes = path === '-' ? await readAll(stdin) : await readWhole(path);
  const lines = decode(bytes, name)
    .split(/\r?\n/)
    .map((text, index) => ({ number: index + 1, text: text.trim() }))
    .filter(({ text }) => text !== '');
  if (lines.length === 0) {
    throw new ParleyError('PROMPT_FILE_INVALID', `${name} holds no ${what}: put one on each line`, {
      details: { file: name },
    });
  }
  return { lines, sha256: sha256(bytes) };
}

/** How messages call an input. */
export function inputName(path: string): string {
  return path === '-' ? 'standard input' : path;
}

/** PROMPT_FILE_INVALID that names file and line. */
export function lineError(path: string, line: number, problem: string): ParleyError {
  const name = inputName(path);
  return new ParleyError('PROMPT_FILE_INVALID', `${name}:${line}: ${problem}`, {
    details: { file: name, line: String(line) },
  });
}

async function readAll(stdin: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stdin) chunks.push(Buffer.from(chunk as Buffer | string));
  return Buffer.concat(chunks);
}

async function readWhole(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ParleyError('PROMPT_FILE_INVALID', `Cannot read ${path}: ${why}; check the path`, {
      details: { file: path },
      cause: error,
    });
  }
}

function decode(bytes: Buffer, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    const line = bytes.subarray(0, invalidAt(bytes)).filter((byte) => byte === 0x0a).length + 1;
    throw new ParleyError('PROMPT_FILE_INVALID', `${name}:${line}: not UTF-8 text; save the file as UTF-8`, {
      details: { file: name, line: String(line) },
      cause: error,
    });
  }
}

/** Offset of the first byte that UTF-8 forbids: where decoding and encoding again first differ. */
function invalidAt(bytes: Buffer): number {
  const again = Buffer.from(bytes.toString('utf8'), 'utf8');
  const length = Math.min(bytes.length, again.length);
  for (let index = 0; index < length; index++) if (bytes[index] !== again[index]) return index;
  return length;
}
