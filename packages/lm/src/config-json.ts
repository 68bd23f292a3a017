import { readFileSync, statSync } from 'node:fs';
import { LmError } from './lm-error.js';

/** What a configuration needs at most; a larger file is not one. Parsed JSON takes several times its text in memory. */
const defaultMaxBytes = 4 << 20;

/** The deepest nesting of any real file here is 6; deeper documents would exhaust the stack of what walks them. */
const maxDepth = 64;

/**
 * Reads a file that holds one JSON object of at most `maxBytes`.
 * @throws LmError `FILE_MISSING`, `FILE_UNREADABLE` or `JSON_INVALID`, naming the file.
 */
export function readJsonFile(path: string, maxBytes = defaultMaxBytes): Record<string, unknown> {
  const value = readOptionalJsonFile(path, maxBytes);
  if (value === null) {
    throw new LmError(
      'FILE_MISSING',
      `${path} does not exist. A Hugging Face model folder holds it: download it again.`,
      {
        details: { file: path },
      },
    );
  }
  return value;
}

/** {@link readJsonFile}, with null for a file that does not exist. */
export function readOptionalJsonFile(
  path: string,
  maxBytes = defaultMaxBytes,
): Record<string, unknown> | null {
  const bytes = readBytes(path, maxBytes);
  if (bytes === null) return null;
  if (isNestedDeeper(bytes, maxDepth)) throw notJson(path, `it is nested more than ${maxDepth} levels deep`);
  let value: unknown;
  try {
    value = JSON.parse(decodeText(bytes));
  } catch (cause) {
    throw notJson(path, (cause as Error).message, cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw notJson(path, 'not a JSON object');
  return value as Record<string, unknown>;
}

/** The text of a UTF-8 file of at most `maxBytes`, or null when it does not exist. @throws LmError `FILE_UNREADABLE`. */
export function readTextFile(path: string, maxBytes = defaultMaxBytes): string | null {
  const bytes = readBytes(path, maxBytes);
  if (bytes === null) return null;
  try {
    return decodeText(bytes);
  } catch (cause) {
    throw unreadable(path, 'it is not UTF-8 text. Download or save it again', cause);
  }
}

function readBytes(path: string, maxBytes: number): Uint8Array | null {
  try {
    const stats = statSync(path);
    if (!stats.isFile()) throw unreadable(path, 'it is not a file');
    if (stats.size > maxBytes) {
      throw unreadable(
        path,
        `it has ${stats.size} bytes, at most ${maxBytes} are read. Download or save it again`,
      );
    }
    return readFileSync(path);
  } catch (cause) {
    if (cause instanceof LmError) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return null;
    throw unreadable(path, `${message}. Check its permissions`, cause);
  }
}

/** Refuses what is not UTF-8, which would otherwise be replaced without a word; leaves out a byte-order mark. */
function decodeText(bytes: Uint8Array): string {
  return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
}

/** Looks at brackets outside strings alone, before anything is parsed. */
function isNestedDeeper(bytes: Uint8Array, limit: number): boolean {
  const [quote, backslash, openList, closeList, openObject, closeObject] = Buffer.from('"\\[]{}');
  let depth = 0;
  let inString = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (inString) {
      if (byte === backslash) i++;
      else if (byte === quote) inString = false;
    } else if (byte === quote) inString = true;
    else if (byte === openList || byte === openObject) {
      if (++depth > limit) return true;
    } else if (byte === closeList || byte === closeObject) depth--;
  }
  return false;
}

function unreadable(path: string, problem: string, cause?: unknown): LmError {
  return new LmError('FILE_UNREADABLE', `${path} cannot be read: ${problem}.`, {
    details: { file: path },
    cause,
  });
}

function notJson(path: string, problem: string, cause?: unknown): LmError {
  return new LmError('JSON_INVALID', `${path} is not a JSON object: ${problem}. Download or save it again.`, {
    details: { file: path },
    cause,
  });
}
