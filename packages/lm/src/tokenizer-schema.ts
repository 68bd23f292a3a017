import type { LmError } from './lm-error.js';
import {
  character,
  component,
  fields,
  flag,
  integer,
  invalid,
  isRecord,
  listOf,
  nonEmptyText,
  number,
  oneOf,
  optional,
  own,
  pattern,
  shortText,
  text,
  tuple,
} from './tokenizer-rules.js';
import type { Rule, RuleContext } from './tokenizer-rules.js';
import { checkMerges, checkVocabulary } from './tokenizer-vocabulary.js';
import type { Vocabulary } from './tokenizer-vocabulary.js';

/** A tokenizer.json that the library can be given. */
export interface CheckedTokenizer extends Vocabulary {
  /** What was read, with absent parts null and the kind of the model spelt out. */
  readonly document: Readonly<Record<string, unknown>>;
  /** The regular expressions it brings, with their places. */
  readonly patterns: RuleContext['patterns'];
}

const maybe = { flag: optional(flag), text: optional(text), shortText: optional(shortText) };
const sequence = (of: () => Rule): Rule => listOf((value, at, context) => of()(value, at, context), 64);

const normalizer: Rule = component(() => ({
  BertNormalizer: {
    clean_text: maybe.flag,
    handle_chinese_chars: maybe.flag,
    strip_accents: maybe.flag,
    lowercase: maybe.flag,
  },
  Lowercase: {},
  NFC: {},
  NFD: {},
  NFKC: {},
  NFKD: {},
  Precompiled: { precompiled_charsmap: maybe.text },
  Prepend: { prepend: shortText },
  Replace: { pattern, content: shortText },
  Sequence: { normalizers: sequence(() => normalizer) },
  Strip: { strip_left: maybe.flag, strip_right: maybe.flag },
  StripAccents: {},
}));

const behavior = oneOf('Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous');

const preTokenizer: Rule = component(() => ({
  BertPreTokenizer: {},
  ByteLevel: { add_prefix_space: maybe.flag, trim_offsets: maybe.flag, use_regex: maybe.flag },
  Digits: { individual_digits: maybe.flag },
  FixedLength: { length: integer(1, 1 << 20) },
  Metaspace: {
    replacement: optional(character),
    str_rep: optional(character),
    add_prefix_space: maybe.flag,
    prepend_scheme: optional(oneOf('always', 'first', 'never')),
    split: maybe.flag,
  },
  Punctuation: { behavior: optional(behavior) },
  Replace: { pattern, content: shortText },
  Sequence: { pretokenizers: sequence(() => preTokenizer) },
  Split: { pattern, behavior, invert: maybe.flag },
  Whitespace: {},
  WhitespaceSplit: {},
}));

/** A token that stands around a document. */
const knownToken: Rule = (value, at, context) => {
  text(value, at, context);
  if (!context.tokens.has(value as string))
    throw invalid(context, at, value, 'a token of "model.vocab" or "added_tokens"');
};
const processing = {
  sep: tuple(knownToken, integer(0, 2 ** 31)),
  cls: tuple(knownToken, integer(0, 2 ** 31)),
};

const templateItem: Rule = (value, at, context) => {
  const special = isRecord(value) ? own(value, 'SpecialToken') : undefined;
  if (special !== undefined) return fields({ id: knownToken })(special, `${at}.SpecialToken`, context);
  const part = isRecord(value) ? own(value, 'Sequence') : undefined;
  if (part === undefined) throw invalid(context, at, value, '"SpecialToken" or "Sequence"');
  fields({ id: oneOf('A') })(part, `${at}.Sequence`, context);
};

const template: Rule = (value, at, context) => {
  listOf(templateItem, 64)(value, at, context);
  const parts = (value as Record<string, unknown>[]).filter((item) => Object.hasOwn(item, 'Sequence'));
  if (parts.length !== 1) throw invalid(context, at, value, 'the text ("Sequence" with "id" A) once');
};

const postProcessor: Rule = component(() => ({
  BertProcessing: processing,
  ByteLevel: {},
  RobertaProcessing: processing,
  Sequence: { processors: sequence(() => postProcessor) },
  TemplateProcessing: { single: template },
}));

const decoder: Rule = component(() => ({
  BPEDecoder: { suffix: optional(nonEmptyText) },
  ByteFallback: {},
  ByteLevel: {},
  CTC: { pad_token: maybe.text, word_delimiter_token: optional(nonEmptyText), cleanup: maybe.flag },
  Fuse: {},
  Metaspace: { replacement: optional(character) },
  Replace: { pattern, content: shortText },
  Sequence: { decoders: sequence(() => decoder) },
  Strip: {
    content: optional(character),
    start: optional(integer(0, 1000)),
    stop: optional(integer(0, 1000)),
  },
  WordPiece: { prefix: maybe.shortText, cleanup: maybe.flag },
}));

const empty: Rule = (value, at, context) => {
  if (value !== '') throw invalid(context, at, value, 'none, which is all that is supported');
};

const models = {
  BPE: {
    unk_token: maybe.text,
    dropout: optional(number),
    // The library knows none, so that one would go unheeded.
    continuing_subword_prefix: optional(empty),
    continuing_subword_suffix: maybe.shortText,
    end_of_word_suffix: maybe.shortText,
    fuse_unk: maybe.flag,
    byte_fallback: maybe.flag,
    ignore_merges: maybe.flag,
  },
  Unigram: { byte_fallback: maybe.flag },
  WordLevel: { unk_token: text },
  WordPiece: {
    unk_token: text,
    continuing_subword_prefix: shortText,
    max_input_chars_per_word: optional(integer(1, 10_000)),
  },
} as const;

/**
 * Checks every part of a tokenizer.json that decides what it does, before the library, which checks hardly anything,
 * sees it.
 * @param label names the document in error messages
 * @throws LmError `TOKENIZER_INVALID` naming the field, its value and what is expected.
 */
export function checkTokenizer(source: Readonly<Record<string, unknown>>, label: string): CheckedTokenizer {
  const context = { label, patterns: [], tokens: new Map<string, number>() };
  const model = checkModel(source, context);
  const { tokens, size } = checkVocabulary(source, model, context);
  if (model['type'] === 'BPE') checkMerges(model, context);
  if (model['type'] === 'Unigram')
    optional(integer(0, (model['vocab'] as unknown[]).length - 1))(model['unk_id'], 'model.unk_id', context);
  const complete: RuleContext = { ...context, tokens };
  const part = (name: string, rule: Rule): unknown => {
    const value = own(source, name) ?? null;
    optional(rule)(value, name, complete);
    checkGrowth(value, name, complete);
    return value;
  };
  const document = {
    added_tokens: own(source, 'added_tokens') ?? [],
    normalizer: part('normalizer', normalizer),
    pre_tokenizer: part('pre_tokenizer', preTokenizer),
    post_processor: part('post_processor', postProcessor),
    decoder: part('decoder', decoder),
    model,
  };
  return { document, patterns: complete.patterns, tokens, size };
}

/** The model with its type, which old files leave to be told from the fields that are there. */
function checkModel(
  source: Readonly<Record<string, unknown>>,
  context: RuleContext,
): Record<string, unknown> {
  const model = own(source, 'model');
  if (!isRecord(model)) throw invalid(context, 'model', model, 'an object');
  const type = own(model, 'type') ?? impliedType(model);
  oneOf(...Object.keys(models))(type, 'model.type', context);
  fields(models[type as keyof typeof models])(model, 'model', context);
  return { ...model, type };
}

function impliedType(model: Record<string, unknown>): string | undefined {
  if (Array.isArray(own(model, 'vocab'))) return 'Unigram';
  if (Object.hasOwn(model, 'merges')) return 'BPE';
  return Object.hasOwn(model, 'continuing_subword_prefix') ? 'WordPiece' : undefined;
}

/** Refuses replacements that could make long text of short: each one's growth multiplies that of those before it. */
function checkGrowth(value: unknown, at: string, context: RuleContext): void {
  const limit = 4096;
  const factor = growth(value);
  if (factor > limit) throw tooLong(context, at, value, factor, limit);
}

function growth(value: unknown): number {
  if (Array.isArray(value)) return value.reduce((product: number, item) => product * growth(item), 1);
  if (!isRecord(value)) return 1;
  if (value['type'] !== 'Replace')
    return growth(value['normalizers'] ?? value['pretokenizers'] ?? value['decoders']);
  const content = String(value['content']).length;
  const literal = (value['pattern'] as Record<string, unknown>)['String'];
  // A regular expression may match nothing at all, before every character.
  return typeof literal === 'string' ? Math.max(1, content / literal.length) : content + 1;
}

function tooLong(context: RuleContext, at: string, value: unknown, factor: number, limit: number): LmError {
  return invalid(
    context,
    at,
    value,
    `replacements that lengthen text at most ${limit}-fold, these may ${factor}-fold`,
  );
}
