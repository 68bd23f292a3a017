import { join } from 'node:path';
import type { TokenizerFiles } from './tokenizer-files.js';
import { flag, invalid, isRecord, listOf, optional, own, text } from './tokenizer-rules.js';
import type { Rule } from './tokenizer-rules.js';
import type { CheckedTokenizer } from './tokenizer-schema.js';

/** A special token as tokenizer_config.json gives it: its text, or an object with its text as `content`. */
const specialToken: Rule = (value, at, context) => {
  if (typeof value === 'string') return;
  if (!isRecord(value)) throw invalid(context, at, value, 'a token or an object with its "content"');
  text(own(value, 'content'), `${at}.content`, context);
};

/** The text of such a token; null for none. */
export function specialTokenText(raw: unknown): string | null {
  if (typeof raw === 'string') return raw;
  const content = isRecord(raw) ? own(raw, 'content') : undefined;
  return typeof content === 'string' ? content : null;
}

const chatTemplate: Rule = (value, at, context) => {
  if (typeof value === 'string') return;
  const named: Rule = (item, place) => {
    if (!isRecord(item)) throw invalid(context, place, item, 'an object with "name" and "template"');
    text(own(item, 'name'), `${place}.name`, context);
    text(own(item, 'template'), `${place}.template`, context);
  };
  if (!Array.isArray(value)) throw invalid(context, at, value, 'a template or a list of named ones');
  listOf(named, 100)(value, at, context);
};

const rules: Readonly<Record<string, Rule>> = {
  bos_token: specialToken,
  eos_token: specialToken,
  pad_token: specialToken,
  unk_token: specialToken,
  additional_special_tokens: listOf(specialToken, 100_000),
  chat_template: chatTemplate,
  remove_space: flag,
  do_lowercase_and_remove_accent: flag,
};

/**
 * Checks tokenizer_config.json.
 * @returns the part of it that the library uses.
 * @throws LmError `TOKENIZER_INVALID` naming the field, its value and what is expected.
 */
export function checkTokenizerConfig(
  files: TokenizerFiles,
  { document }: CheckedTokenizer,
): Readonly<Record<string, unknown>> {
  const source = files.tokenizerConfig;
  const context = {
    label: join(files.folder, 'tokenizer_config.json'),
    patterns: [],
    tokens: new Map<string, number>(),
  };
  for (const [key, rule] of Object.entries(rules)) optional(rule)(own(source, key), key, context);
  const additional = (own(source, 'additional_special_tokens') ?? []) as unknown[];
  return {
    additional_special_tokens: additional.map(specialTokenText),
    eos_token: specialTokenText(own(source, 'eos_token')),
    remove_space: own(source, 'remove_space'),
    do_lowercase_and_remove_accent: own(source, 'do_lowercase_and_remove_accent'),
    // Where the model maps whole words, the library looks here for what stands for an unknown one.
    unk_token: (document['model'] as Record<string, unknown>)['unk_token'],
  };
}
