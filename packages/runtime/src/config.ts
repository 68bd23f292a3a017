import { readFileSync } from 'node:fs';
import { ParleyError } from './errors.js';

/** The environment a process was started with. */
export type Env = Readonly<Record<string, string | undefined>>;

/** One environment variable: its name, its meaning, and how its text becomes a value. */
export interface Field<T> {
  readonly env: string;
  /** One line for the table of settings in the documentation. */
  readonly description: string;
  /** What it may hold, with its unit, for the same table: `duration from 10ms to 7s`. */
  readonly values: string;
  /** What holds when the variable is unset; `undefined` means that it must be set, unless `optional`. */
  readonly fallback: T | undefined;
  readonly optional: boolean;
  /** The text, or the path of a file that holds it (`NAME_FILE`). */
  readonly source: 'text' | 'file';
  /** @throws Error whose message says what is wrong with the text, without naming the variable */
  parse(text: string): T;
  /** The shortest text that {@link Field.parse} turns into this value. */
  format(value: T): string;
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

/** How a text becomes a value. */
export interface FieldSyntax<T> {
  /** As {@link Field.values}. */
  values: string;
  parse: (text: string) => T;
  /** `String` unless given. */
  format?: (value: T) => string;
}

/** A field with a syntax of its own. */
export function parsed<T>(env: string, options: FieldOptions<T>, syntax: FieldSyntax<T>): Field<T> {
  const { description, fallback } = options;
  const { values, parse, format = String } = syntax;
  return { env, description, values, fallback, optional: false, source: 'text', parse, format };
}

/** The same field, `undefined` when the variable is unset. */
export function optional<T>(required: Field<T>): Field<T | undefined> {
  return { ...required, optional: true };
}

/** A text, taken as it is; `pattern` must match all of it where given. */
export function string(env: string, options: FieldOptions<string> & { pattern?: RegExp }): Field<string> {
  const parse = (text: string) => {
    if (options.pattern && options.pattern.exec(text)?.[0] !== text) {
      throw new Error(`"${text}" must match ${options.pattern.source}`);
    }
    return text;
  };
  return parsed(env, options, { values: 'text', parse });
}

/** A whole number within [min, max]. */
export function integer(
  env: string,
  options: FieldOptions<number> & { min?: number; max?: number },
): Field<number> {
  const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = options;
  const values = `whole number${range(options)}`;
  const parse = (text: string) => {
    const value = Number(text);
    if (!/^[+-]?\d+$/.test(text) || value < min || value > max)
      throw new Error(`"${text}" is not a ${values}`);
    return value;
  };
  return parsed(env, options, { values, parse });
}

/** A finite decimal number within [min, max]. */
export function decimal(
  env: string,
  options: FieldOptions<number> & { min?: number; max?: number },
): Field<number> {
  const { min = -Infinity, max = Infinity } = options;
  const values = `number${range(options)}`;
  const parse = (text: string) => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isFinite(value) || value < min || value > max)
      throw new Error(`"${text}" is not a ${values}`);
    return value;
  };
  return parsed(env, options, { values, parse });
}

function range(
  { min, max }: { min?: number; max?: number },
  show: (value: number) => string = String,
): string {
  if (min !== undefined && max !== undefined) return ` from ${show(min)} to ${show(max)}`;
  if (min !== undefined) return ` of at least ${show(min)}`;
  return max === undefined ? '' : ` of at most ${show(max)}`;
}

const UNITS_MS = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 } as const;

function formatDuration(valueMs: number): string {
  const [unit, unitMs] = Object.entries(UNITS_MS).find(([, ms]) => valueMs >= ms && valueMs % ms === 0) ?? [
    'ms',
    1,
  ];
  return `${valueMs / unitMs}${unit}`;
}

/** A duration with its unit (`250ms`, `5s`, `2m`, `1h`), as milliseconds. A bare number is refused as ambiguous. */
export function durationMs(
  env: string,
  options: FieldOptions<number> & { min?: number; max?: number },
): Field<number> {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = options;
  const bounds = range(options, formatDuration);
  const parse = (text: string) => {
    const [, amount, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text) ?? [];
    const value = Number(amount) * UNITS_MS[(unit ?? 'ms') as keyof typeof UNITS_MS];
    if (!(value >= min && value <= max))
      throw new Error(`"${text}" is not a duration with a unit (250ms, 5s, 2m, 1h)${bounds}`);
    return value;
  };
  return parsed(env, options, { values: `duration${bounds}`, parse, format: formatDuration });
}

/** true or false, written `true`, `false`, `1` or `0`. */
export function boolean(env: string, options: FieldOptions<boolean>): Field<boolean> {
  const parse = (text: string) => {
    if (text === 'true' || text === '1') return true;
    if (text === 'false' || text === '0') return false;
    throw new Error(`"${text}" is neither true nor false`);
  };
  return parsed(env, options, { values: 'true, false', parse });
}

/** One of a closed list of words. */
export function oneOf<const T extends string>(
  env: string,
  values: readonly T[],
  options: FieldOptions<T>,
): Field<T> {
  const listed = values.join(', ');
  const parse = (text: string) => {
    const found = values.find((value) => value === text);
    if (found === undefined) throw new Error(`"${text}" is not one of ${listed}`);
    return found;
  };
  return parsed(env, options, { values: listed, parse });
}

/** A file or folder path, as written. Whether it exists is for the code that opens it to say. */
export function path(env: string, options: FieldOptions<string>): Field<string> {
  const parse = (text: string) => {
    if (text.includes('\0')) throw new Error('holds a NUL character, which no path may');
    return text;
  };
  return parsed(env, options, { values: 'path', parse });
}

/** `host:port` with a port from 1 to 65535; IPv6 hosts in brackets. */
export function hostPort(env: string, options: FieldOptions<string>): Field<string> {
  const parse = (text: string) => {
    splitHostPort(text, 1);
    return text;
  };
  return parsed(env, options, { values: 'host:port', parse });
}

/** An absolute URL of one of the protocols given (`https:`), as written. */
export function url(
  env: string,
  options: FieldOptions<string> & { protocols: readonly string[] },
): Field<string> {
  const schemes = options.protocols.map((protocol) => `${protocol}//`).join(', ');
  const parse = (text: string) => {
    if (!URL.canParse(text) || !options.protocols.includes(new URL(text).protocol))
      throw new Error(`"${text}" is not a URL that begins with ${schemes}`);
    return text;
  };
  return parsed(env, options, { values: `URL (${schemes})`, parse });
}

/** Where a server listens. */
export interface ListenAddress {
  /** Interface: `127.0.0.1`, `0.0.0.0`, `[::]`. */
  readonly host: string;
  /** 0 lets the system choose a free one. */
  readonly port: number;
}

/** `host:port` to listen on, with a port from 0 to 65535; IPv6 hosts in brackets. */
export function listen(env: string, options: FieldOptions<ListenAddress>): Field<ListenAddress> {
  const parse = (text: string) => splitHostPort(text, 0);
  return parsed(env, options, { values: 'host:port', parse, format: ({ host, port }) => `${host}:${port}` });
}

function splitHostPort(text: string, lowest: number): ListenAddress {
  const [, host, digits] = /^(\[[0-9a-fA-F:]+\]|[^\s:[\]/]+):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (host === undefined || port < lowest || port > 65535)
    throw new Error(`"${text}" is not host:port with a port from ${lowest} to 65535`);
  return { host, port };
}

/** Items separated by commas, trimmed, each parsed like a field of its own. */
export function list<T>(item: Field<T>, options: { fallback?: T[] } = {}): Field<T[]> {
  const { env, description, values } = item;
  const parse = (text: string) =>
    text.split(',').map((part, index) => {
      if (part.trim() === '') throw new Error(`item ${index + 1} is empty`);
      return item.parse(part.trim());
    });
  const format = (list: T[]) => list.map((value) => item.format(value)).join(',');
  return parsed(env, { description, ...options }, { values: `${values}, comma between`, parse, format });
}

/** A secret: the content of the file named by `NAME_FILE`. Setting `NAME` itself is refused. */
export function secret(env: string, options: { description: string }): Field<string> {
  return {
    ...parsed(env, options, { values: 'path of a file that holds it', parse: (text) => text }),
    source: 'file',
  };
}
