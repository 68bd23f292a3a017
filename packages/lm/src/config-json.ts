import { readFileSync } from 'node:fs';
import { LmError } from './lm-error.js';

/**
 * Reads a file that holds one JSON object.
 * @throws LmError `FILE_MISSING`, `FILE_UNREADABLE` or `JSON_INVALID`, naming the file.
 */
export function readJsonFile(path: string): Record<string, unknown> {
  const text = readTextFile(path);
  if (text === null) {
    throw new LmError(
      'FILE_MISSING',
      `${path} does not exist. A Hugging Face model folder holds it: download it again.`,
      {
        details: { file: path },
      },
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw notJson(path, (cause as Error).message, cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw notJson(path, 'not a JSON object');
  return value as Record<string, unknown>;
}

/** {@link readJsonFile}, with null for a file that does not exist. */
export function readOptionalJsonFile(path: string): Record<string, unknown> | null {
  return readTextFile(path) === null ? null : readJsonFile(path);
}

/** The text of a file, or null when it does not exist. @throws LmError `FILE_UNREADABLE`. */
export function readTextFile(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new LmError(
      'FILE_UNREADABLE',
      `${path} cannot be read: ${(cause as Error).message}. Check its permissions.`,
      {
        details: { file: path },
        cause,
      },
    );
  }
}

function notJson(path: string, problem: string, cause?: unknown): LmError {
  return new LmError('JSON_INVALID', `${path} is not a JSON object: ${problem}. Download or save it again.`, {
    details: { file: path },
    cause,
  });
}
