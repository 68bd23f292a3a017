import { LmError } from './lm-error.js';
import { preview } from './preview.js';

/** What checking one document knows and gathers. */
export interface RuleContext {
  /** Names the document in messages. */
  readonly label: string;
  /** Regular expressions found, with their place in the document. */
  readonly patterns: { readonly at: string; readonly source: string }[];
  /** Every token of the vocabulary with its id; empty until the model is checked. */
  readonly tokens: ReadonlyMap<string, number>;
}

/** Refuses a value at a place of a document with `TOKENIZER_INVALID`; returns having found it good. */
export type Rule = (value: unknown, at: string, context: RuleContext) => void;

/** The error for a value that breaks a rule. */
export function invalid(
  { label }: Pick<RuleContext, 'label'>,
  at: string,
  value: unknown,
  expected: string,
): LmError {
  return new LmError(
    'TOKENIZER_INVALID',
    `${label}: "${at}" is ${preview(value)}; expected ${expected}. ` +
      'Save it again with a current version of transformers, or choose another model.',
    { details: { file: label, field: at, value: preview(value) } },
  );
}

const rule =
  (test: (value: unknown) => boolean, expected: string): Rule =>
  (value, at, context) => {
    if (!test(value)) throw invalid(context, at, value, expected);
  };

export const flag = rule((value) => typeof value === 'boolean', 'true or false');
export const text = rule((value) => typeof value === 'string', 'a string');
export const nonEmptyText = rule(
  (value) => typeof value === 'string' && value !== '',
  'a string that is not empty',
);
export const character = rule(
  (value) => typeof value === 'string' && [...value].length === 1,
  'one character',
);
export const number = rule((value) => typeof value === 'number' && Number.isFinite(value), 'a number');

/** A string short enough to be put into text many times. */
export const shortText = rule(
  (value) => typeof value === 'string' && value.length <= 256,
  'at most 256 characters',
);

export function integer(min: number, max: number): Rule {
  return rule(
    (value) => Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max,
    `a whole number from ${min} to ${max}`,
  );
}

export function oneOf(...choices: readonly string[]): Rule {
  return rule((value) => typeof value === 'string' && choices.includes(value), choices.join(' or '));
}

/** Absent and null are good too. */
export function optional(inner: Rule): Rule {
  return (value, at, context) => {
    if (value !== undefined && value !== null) inner(value, at, context);
  };
}

export function listOf(item: Rule, max: number): Rule {
  return (value, at, context) => {
    if (!Array.isArray(value) || value.length > max)
      throw invalid(context, at, value, `a list of at most ${max} items`);
    value.forEach((inner, i) => item(inner, `${at}[${i}]`, context));
  };
}

/** A list of exactly these. */
export function tuple(...items: readonly Rule[]): Rule {
  return (value, at, context) => {
    if (!Array.isArray(value) || value.length !== items.length)
      throw invalid(context, at, value, `a list of ${items.length}`);
    items.forEach((item, i) => item(value[i], `${at}[${i}]`, context));
  };
}

/** An object with these fields; others are of no concern. */
export function fields(rules: Readonly<Record<string, Rule>>): Rule {
  return (value, at, context) => {
    if (!isRecord(value)) throw invalid(context, at, value, 'an object');
    for (const [key, inner] of Object.entries(rules))
      inner(own(value, key), at === '' ? key : `${at}.${key}`, context);
  };
}

/** An object whose `type` says which of the tables' fields it has. Tables may refer to this rule through functions. */
export function component(tables: () => Readonly<Record<string, Readonly<Record<string, Rule>>>>): Rule {
  return (value, at, context) => {
    if (!isRecord(value)) throw invalid(context, at, value, 'an object with a "type"');
    if (at.split('.').length > 4) throw invalid(context, at, value, 'less nesting');
    const known = tables();
    oneOf(...Object.keys(known))(own(value, 'type'), `${at}.type`, context);
    fields(known[value['type'] as string])(value, at, context);
  };
}

/** `{"String": …}`, taken as it is, or `{"Regex": …}`. */
export const pattern: Rule = (value, at, context) => {
  if (!isRecord(value)) throw invalid(context, at, value, 'an object with "String" or "Regex"');
  const source = own(value, 'Regex');
  if (source === undefined) return nonEmptyText(own(value, 'String'), `${at}.String`, context);
  const maxLength = 2000;
  if (typeof source !== 'string' || source.length > maxLength)
    throw invalid(context, `${at}.Regex`, source, `a regular expression of at most ${maxLength} characters`);
  context.patterns.push({ at: `${at}.Regex`, source });
};

/** A property of the object itself, so that "toString" and the like are absent. */
export function own(value: Readonly<Record<string, unknown>>, key: string): unknown {
  return Object.hasOwn(value, key) ? value[key] : undefined;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
