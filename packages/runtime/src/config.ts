import { readFileSync } from 'node:fs';
import { ParleyError } from './errors.js';

/** The environment a process was started with. */
export type Env = Readonly<Record<string, string | undefined>>;

/** One environment variable: its name, its meaning, and how its text becomes a value. */
export interface Field<T> {
  readonly env: string;
  /** One line for the table of settings in the documentation. */
  readonly description: string;
  /** What holds when the variable is unset; `undefined` means that it must be set, unless `optional`. */
  readonly fallback: T | undefined;
  readonly optional: boolean;
  /** The text, or the path of a file that holds it (`NAME_FILE`). */
  readonly source: 'text' | 'file';
  /** @throws Error whose message says what is wrong with the text, without naming the variable */
  parse(text: string): T;
}

/** The values of a set of fields. */
export type ConfigOf<F extends Record<string, Field<unknown>>> = {
  readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never;
};

/**
 * Parses, defaults, validates and freezes a configuration. Empty variables count as unset.
 *
 * @throws ParleyError CONFIG_INVALID that lists every problem at once, each by the variable's name
 */
export function readConfig<F extends Record<string, Field<unknown>>>(env: Env, fields: F): ConfigOf<F> {
  const problems: string[] = [];
  const entries = Object.entries(fields).map(([key, field]) => {
    try {
      return [key, readField(env, field)];
    } catch (error) {
      problems.push(`${field.env}: ${error instanceof Error ? error.message : String(error)}`);
      return [key, undefined];
    }
  });
  if (problems.length > 0) {
    const title = problems.length === 1 ? 'Invalid setting' : `${problems.length} invalid settings`;
    throw new ParleyError('CONFIG_INVALID', `${title}:\n${problems.map((line) => `  ${line}`).join('\n')}`, {
      details: Object.fromEntries(problems.map((line) => [line.slice(0, line.indexOf(':')), line])),
    });
  }
  return Object.freeze(Object.fromEntries(entries)) as ConfigOf<F>;
}

function readField(env: Env, field: Field<unknown>): unknown {
  const text = field.source === 'file' ? readSecret(env, field) : env[field.env];
  if (text !== undefined && text !== '') return field.parse(text);
  if (field.fallback !== undefined || field.optional) return field.fallback;
  const name = field.source === 'file' ? `${field.env}_FILE` : field.env;
  throw new Error(`is required; set ${name} (${field.description})`);
}

function readSecret(env: Env, field: Field<unknown>): string | undefined {
  const path = env[`${field.env}_FILE`];
  if (env[field.env]) throw new Error(`secrets come from files; set ${field.env}_FILE to a path instead`);
  if (!path) return undefined;
  try {
    return readFileSync(path, 'utf8').trimEnd();
  } catch (error) {
    throw new Error(`cannot read the file ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** Options that every field takes. */
export interface FieldOptions<T> {
  description: string;
  fallback?: T;
}

function field<T>(env: string, options: FieldOptions<T>, parse: (text: string) => T): Field<T> {
  const { description, fallback } = options;
  return { env, description, fallback, optional: false, source: 'text', parse };
}

/** The same field, `undefined` when the variable is unset. */
export function optional<T>(required: Field<T>): Field<T | undefined> {
  return { ...required, optional: true };
}

/** A text, taken as it is; `pattern` must match all of it where given. */
export function string(env: string, options: FieldOptions<string> & { pattern?: RegExp }): Field<string> {
  return field(env, options, (text) => {
    if (options.pattern && options.pattern.exec(text)?.[0] !== text) {
      throw new Error(`"${text}" must match ${options.pattern.source}`);
    }
    return text;
  });
}

/** A whole number within [min, max]. */
export function integer(
  env: string,
  options: FieldOptions<number> & { min?: number; max?: number },
): Field<number> {
  const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = options;
  return field(env, options, (text) => {
    const value = Number(text);
    if (!/^[+-]?\d+$/.test(text) || value < min || value > max) {
      throw new Error(`"${text}" is not a whole number ${range(options)}`);
    }
    return value;
  });
}

/** A finite decimal number within [min, max]. */
export function decimal(
  env: string,
  options: FieldOptions<number> & { min?: number; max?: number },
): Field<number> {
  const { min = -Infinity, max = Infinity } = options;
  return field(env, options, (text) => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isFinite(value) || value < min || value > max) {
      throw new Error(`"${text}" is not a number ${range(options)}`);
    }
    return value;
  });
}

function range({ min, max }: { min?: number; max?: number }): string {
  if (min !== undefined && max !== undefined) return `from ${min} to ${max}`;
  if (min !== undefined) return `of at least ${min}`;
  return max === undefined ? '' : `of at most ${max}`;
}

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A duration with its unit (`250ms`, `5s`, `2m`, `1h`), as milliseconds. A bare number is refused as ambiguous. */
export function durationMs(
  env: string,
  options: FieldOptions<number> & { min?: number; max?: number },
): Field<number> {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = options;
  return field(env, options, (text) => {
    const [, amount, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text) ?? [];
    const value = Number(amount) * (UNITS_MS[unit ?? ''] ?? NaN);
    if (!(value >= min && value <= max)) {
      throw new Error(
        `"${text}" is not a duration with a unit (250ms, 5s, 2m, 1h) from ${min} ms to ${max} ms`,
      );
    }
    return value;
  });
}

/** true or false, written `true`, `false`, `1` or `0`. */
export function boolean(env: string, options: FieldOptions<boolean>): Field<boolean> {
  return field(env, options, (text) => {
    if (text === 'true' || text === '1') return true;
    if (text === 'false' || text === '0') return false;
    throw new Error(`"${text}" is neither true nor false`);
  });
}

/** One of a closed list of words. */
export function oneOf<const T extends string>(
  env: string,
  values: readonly T[],
  options: FieldOptions<T>,
): Field<T> {
  return field(env, options, (text) => {
    const found = values.find((value) => value === text);
    if (found === undefined) throw new Error(`"${text}" is not one of ${values.join(', ')}`);
    return found;
  });
}

/** A file or folder path, as written. Whether it exists is for the code that opens it to say. */
export function path(env: string, options: FieldOptions<string>): Field<string> {
  return field(env, options, (text) => {
    if (text.includes('\0')) throw new Error('holds a NUL character, which no path may');
    return text;
  });
}

/** `host:port` with a port from 1 to 65535; IPv6 hosts in brackets. */
export function hostPort(env: string, options: FieldOptions<string>): Field<string> {
  return field(env, options, parseHostPort);
}

function parseHostPort(text: string): string {
  const [, host, port] = /^(\[[0-9a-fA-F:]+\]|[^\s:[\]/]+):(\d{1,5})$/.exec(text) ?? [];
  if (host === undefined || Number(port) < 1 || Number(port) > 65535) {
    throw new Error(`"${text}" is not host:port with a port from 1 to 65535`);
  }
  return text;
}

/** Items separated by commas, trimmed, each parsed like a field of its own. */
export function list<T>(item: Field<T>, options: { fallback?: T[] } = {}): Field<T[]> {
  const { env, description } = item;
  return field(env, { description, ...options }, (text) => {
    const items = text.split(',').map((part) => part.trim());
    return items.map((part, index) => {
      if (part === '') throw new Error(`item ${index + 1} is empty`);
      return item.parse(part);
    });
  });
}

/** A secret: the content of the file named by `NAME_FILE`. Setting `NAME` itself is refused. */
export function secret(env: string, options: { description: string }): Field<string> {
  return { ...field(env, options, (text) => text), source: 'file' };
}
