import { Tokenizer as HuggingFaceTokenizerClass } from '@huggingface/tokenizers';
import { join } from 'node:path';
import type { ModelConfig } from './config.js';
import { createConfigFields } from './config-fields.js';
import { LmError } from './lm-error.js';
import { preview } from './preview.js';
import { createTimeLimit } from './time-limit.js';
import { checkTokenizerConfig, specialTokenText } from './tokenizer-config.js';
import { isByteToken, mendByteFallback } from './tokenizer-byte-fallback.js';
import type { TokenDecoder } from './tokenizer-byte-fallback.js';
import { readTokenizerFiles } from './tokenizer-files.js';
import type { TokenizerFiles } from './tokenizer-files.js';
import { checkPatterns } from './tokenizer-patterns.js';
import { checkTokenizer } from './tokenizer-schema.js';
import type { CheckedTokenizer } from './tokenizer-schema.js';

/** What is used of `@huggingface/tokenizers`, whose own declarations do not resolve under NodeNext. */
interface HuggingFaceTokenizer {
  readonly decoder: TokenDecoder | null;
  encode(
    text: string,
    options: { add_special_tokens: boolean },
  ): { ids: (number | null | undefined)[]; tokens: string[] };
  decode(
    ids: number[],
    options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean },
  ): string;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
}

const HuggingFaceTokenizer = HuggingFaceTokenizerClass as unknown as new (
  tokenizer: object,
  config: object,
) => HuggingFaceTokenizer;

/** A prefix and its continuation as one token sequence. */
export interface TokenSpan {
  /** The tokens of prefix + continuation, encoded together as generation would have seen them. */
  readonly ids: number[];
  /** Index of the first token that belongs to the continuation. */
  readonly start: number;
  /** `ids.length - start`; zero only if the continuation is empty. */
  readonly continuationTokens: number;
}

/** Text to token ids and back, for one model. Pure: no call changes another's result. */
export interface Tokenizer {
  /** One more than the highest token id. */
  readonly vocabSize: number;
  readonly bosTokenId: number | null;
  /** Every id that ends a generation: of generation_config.json, else config.json, else the tokenizer's own. */
  readonly eosTokenIds: readonly number[];
  readonly padTokenId: number | null;
  /**
   * Encodes text. Special tokens written out in the text become their ids, as chat templates need. A lone surrogate
   * counts as U+FFFD, as it does wherever text becomes UTF-8.
   * @param options.addSpecialTokens adds what the tokenizer puts around a document (a leading BOS, usually). Default
   * false: a chat template writes its own.
   * @throws LmError `TOKENIZER_INVALID` for text the vocabulary cannot express, and for text that takes longer than
   * {@link TokenizerOptions.timeLimitMs}.
   */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /**
   * Decodes ids; ids without an entry in the vocabulary (padding rows of the embedding) decode to nothing.
   * Bytes that are no UTF-8 become U+FFFD, as in the reference: one for each invalid part of byte-level tokens, one for
   * each byte of a run of byte-fallback tokens.
   * @param options.skipSpecialTokens leaves special tokens out. Default true.
   */
  decode(ids: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string;
  /** Whether a token is a byte that vocabularies with byte fallback spell others with; what it decodes to depends on its neighbours. */
  isByte(id: number): boolean;
  /**
   * Encodes prefix + continuation and finds where the continuation starts: after the longest run of tokens that it shares
   * with the prefix encoded alone. A token that spans the border counts as the continuation's.
   */
  encodeSpan(
    prefix: string,
    continuation: string,
    options?: { readonly addSpecialTokens?: boolean },
  ): TokenSpan;
}

/** Choices that the files do not make. */
export interface TokenizerOptions {
  /**
   * The longest that trying a regular expression on loading, or encoding one text, may take, to which 20 µs a character are added; default 10 s. Ordinary text takes
   * about 1 µs a character: it is for regular expressions of tokenizer.json whose search goes on for ever.
   */
  readonly timeLimitMs?: number;
}

/**
 * Loads the tokenizer of a Hugging Face model folder and checks that it fits the model.
 * @throws LmError `FILE_MISSING`, `JSON_INVALID`, `TOKENIZER_INVALID`, `TOKENIZER_VOCABULARY_MISMATCH`.
 */
export function loadTokenizer(folder: string, config: ModelConfig): Tokenizer {
  return createTokenizer(readTokenizerFiles(folder), config);
}

/** {@link loadTokenizer} from files already read. */
export function createTokenizer(
  files: TokenizerFiles,
  config: ModelConfig,
  options: TokenizerOptions = {},
): Tokenizer {
  const label = join(files.folder, 'tokenizer.json');
  const checked = checkTokenizer(files.tokenizer, label);
  const timeLimit = createTimeLimit();
  checkVocabulary(files.folder, checked.size, config);
  const { timeLimitMs = 10_000 } = options;
  checkPatterns(checked.patterns, label, timeLimit, timeLimitMs);
  const limited = <T>(what: string, characters: number, action: () => T): T => {
    const limitMs = Math.ceil(timeLimitMs + characters / 50);
    const late = (): LmError => failure(label, checked, `${what} takes more than ${limitMs} ms`);
    try {
      return timeLimit.run(limitMs, action, late);
    } catch (cause) {
      if (cause instanceof LmError) throw cause;
      throw failure(label, checked, `${what} fails (${(cause as Error).message.slice(0, 200)})`, cause);
    }
  };
  const libraryConfig = checkTokenizerConfig(files, checked);
  const inner = limited('its set-up', 0, () => new HuggingFaceTokenizer(checked.document, libraryConfig));
  const hasByteFallback = mendByteFallback(inner.decoder);
  const special = specialTokens(files, checked, config);
  const encode: Tokenizer['encode'] = (text, { addSpecialTokens = false } = {}) => {
    if (text === '' && !addSpecialTokens) return [];
    const { ids, tokens } = limited(`encoding ${text.length} characters`, text.length, () =>
      inner.encode(text.replace(loneSurrogates, '\uFFFD'), { add_special_tokens: addSpecialTokens }),
    );
    if (!ids.every((id) => typeof id === 'number')) {
      const unknown = preview(tokens[ids.findIndex((id) => typeof id !== 'number')]);
      throw new LmError(
        'TOKENIZER_INVALID',
        `${label}: the vocabulary, "model.vocab", has no token for ${unknown} and no unknown token. ` +
          'Leave the text out or use a byte-level tokenizer.',
        { details: { file: label, field: 'model.vocab', text: unknown } },
      );
    }
    return ids;
  };
  // Decoding token by token is frequent; it needs watching only where the file brings expressions for it.
  const mayHang = checked.patterns.some(({ at }) => at.startsWith('decoder'));
  const watched = <T>(tokens: number, action: () => T): T =>
    mayHang ? limited(`decoding ${tokens} tokens`, tokens, action) : action();
  return {
    vocabSize: checked.size,
    ...special,
    encode,
    decode(ids, { skipSpecialTokens = true } = {}) {
      const known = ids.filter((id) => inner.id_to_token(id) !== undefined);
      if (known.length === 0) return '';
      // Cleaning up spaces would make the text of a sequence differ from the texts of its parts.
      const options = { skip_special_tokens: skipSpecialTokens, clean_up_tokenization_spaces: false };
      return watched(known.length, () => inner.decode(known, options));
    },
    isByte: (id) => hasByteFallback && isByteToken(inner.id_to_token(id) ?? ''),
    encodeSpan(prefix, continuation, options) {
      const ids = encode(prefix + continuation, options);
      const prefixIds = encode(prefix, options);
      const differs = prefixIds.findIndex((id, i) => id !== ids[i]);
      const start = differs < 0 ? Math.min(prefixIds.length, ids.length) : differs;
      return { ids, start, continuationTokens: ids.length - start };
    },
  };
}

const loneSurrogates = /\p{Surrogate}/gu;

function failure(label: string, { patterns }: CheckedTokenizer, problem: string, cause?: unknown): LmError {
  const places = patterns.map(({ at }) => `"${at}"`).join(', ');
  return new LmError(
    'TOKENIZER_INVALID',
    `${label}: ${problem}${places === '' ? ' with this "model"' : `; its regular expressions are ${places}`}. ` +
      'Choose another model, or shorten the text.',
    { details: { file: label }, cause },
  );
}

/**
 * Embeddings are often padded to a round number of rows, so a model may have more rows than the tokenizer has tokens; one
 * with fewer, or with more than twice as many, belongs to another tokenizer.
 */
function checkVocabulary(folder: string, tokenizerSize: number, { vocabSize }: ModelConfig): void {
  if (tokenizerSize <= vocabSize && vocabSize <= 2 * tokenizerSize) return;
  throw new LmError(
    'TOKENIZER_VOCABULARY_MISMATCH',
    `The tokenizer of ${folder} has ${tokenizerSize} tokens, but config.json gives the model ${vocabSize} ` +
      '("vocab_size" there, "model.vocab" and "added_tokens" in tokenizer.json). ' +
      'Take tokenizer.json and config.json from the same model.',
    { details: { folder, tokenizerSize, vocabSize } },
  );
}

function specialTokens(files: TokenizerFiles, { tokens }: CheckedTokenizer, config: ModelConfig) {
  const generation = createConfigFields(
    files.generationConfig,
    {},
    join(files.folder, 'generation_config.json'),
  );
  const named = (key: string): number[] => {
    const text = specialTokenText(files.tokenizerConfig[key]);
    const id = text === null ? undefined : tokens.get(text);
    return id === undefined ? [] : [id];
  };
  const firstNonEmpty = (...lists: (readonly number[])[]): readonly number[] =>
    lists.find((list) => list.length > 0) ?? [];
  const listOf = (id: number | null): number[] => (id === null ? [] : [id]);
  return {
    bosTokenId: firstNonEmpty(named('bos_token'), listOf(config.bosTokenId))[0] ?? null,
    eosTokenIds: firstNonEmpty(generation.tokenIds('eos_token_id'), config.eosTokenIds, named('eos_token')),
    padTokenId:
      firstNonEmpty(named('pad_token'), generation.tokenIds('pad_token_id'), listOf(config.padTokenId))[0] ??
      null,
  };
}
