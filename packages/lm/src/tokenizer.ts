import { Tokenizer as HuggingFaceTokenizerClass } from '@huggingface/tokenizers';
import type { ModelConfig } from './config.js';
import { LmError } from './lm-error.js';
import { isByteToken, mendByteFallback } from './tokenizer-byte-fallback.js';
import type { TokenDecoder } from './tokenizer-byte-fallback.js';
import { readTokenizerFiles } from './tokenizer-files.js';
import type { TokenizerFiles } from './tokenizer-files.js';

/** What is used of `@huggingface/tokenizers`, whose own declarations do not resolve under NodeNext. */
interface HuggingFaceTokenizer {
  readonly decoder: TokenDecoder | null;
  encode(
    text: string,
    options: { add_special_tokens: boolean },
  ): { ids: (number | undefined)[]; tokens: string[] };
  decode(
    ids: number[],
    options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean },
  ): string;
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
  get_vocab(): Map<string, number>;
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
   * @throws LmError `TOKENIZER_INVALID` for text the vocabulary cannot express.
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

/**
 * Loads the tokenizer of a Hugging Face model folder and checks that it fits the model.
 * @throws LmError `FILE_MISSING`, `JSON_INVALID`, `TOKENIZER_INVALID`, `TOKENIZER_VOCABULARY_MISMATCH`.
 */
export function loadTokenizer(folder: string, config: ModelConfig): Tokenizer {
  return createTokenizer(readTokenizerFiles(folder), config);
}

/** {@link loadTokenizer} from files already read. */
export function createTokenizer(files: TokenizerFiles, config: ModelConfig): Tokenizer {
  const inner = openTokenizer(files);
  const hasByteFallback = mendByteFallback(inner.decoder);
  let vocabSize = 0;
  for (const id of inner.get_vocab().values()) vocabSize = Math.max(vocabSize, id + 1);
  checkVocabulary(files.folder, vocabSize, config);
  const special = specialTokens(files, inner, config);
  const encode: Tokenizer['encode'] = (text, { addSpecialTokens = false } = {}) => {
    if (text === '' && !addSpecialTokens) return [];
    const { ids, tokens } = inner.encode(text.replace(loneSurrogates, '\uFFFD'), {
      add_special_tokens: addSpecialTokens,
    });
    if (!ids.every((id) => id !== undefined)) {
      const unknown = ids.indexOf(undefined);
      throw new LmError(
        'TOKENIZER_INVALID',
        `The tokenizer of ${files.folder} has no token for ${JSON.stringify(tokens[unknown])} and no unknown token. ` +
          'Leave the text out or use a byte-level tokenizer.',
        { details: { folder: files.folder, text: tokens[unknown] } },
      );
    }
    return ids;
  };
  return {
    vocabSize,
    ...special,
    encode,
    decode(ids, { skipSpecialTokens = true } = {}) {
      const known = ids.filter((id) => inner.id_to_token(id) !== undefined);
      if (known.length === 0) return '';
      // Cleaning up spaces would make the text of a sequence differ from the texts of its parts.
      return inner.decode(known, {
        skip_special_tokens: skipSpecialTokens,
        clean_up_tokenization_spaces: false,
      });
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

function openTokenizer({ tokenizer, tokenizerConfig, folder }: TokenizerFiles): HuggingFaceTokenizer {
  try {
    return new HuggingFaceTokenizer(tokenizer, tokenizerConfig);
  } catch (cause) {
    throw new LmError(
      'TOKENIZER_INVALID',
      `The tokenizer of ${folder} cannot be used: ${(cause as Error).message}. ` +
        'Save it again with a current version of transformers, or choose another model.',
      { details: { folder }, cause },
    );
  }
}

/**
 * Embeddings are often padded to a round number of rows, so a model may have more rows than the tokenizer has tokens; one
 * with fewer, or with more than twice as many, belongs to another tokenizer.
 */
function checkVocabulary(folder: string, tokenizerSize: number, { vocabSize }: ModelConfig): void {
  if (tokenizerSize <= vocabSize && vocabSize <= 2 * tokenizerSize) return;
  throw new LmError(
    'TOKENIZER_VOCABULARY_MISMATCH',
    `The tokenizer of ${folder} has ${tokenizerSize} tokens, but config.json gives the model ${vocabSize} ("vocab_size"). ` +
      'Take tokenizer.json and config.json from the same model.',
    { details: { folder, tokenizerSize, vocabSize } },
  );
}

function specialTokens(files: TokenizerFiles, inner: HuggingFaceTokenizer, config: ModelConfig) {
  const named = (key: string): number[] => {
    const raw = files.tokenizerConfig[key];
    const token = typeof raw === 'object' && raw !== null && 'content' in raw ? raw.content : raw;
    const id = typeof token === 'string' ? inner.token_to_id(token) : undefined;
    return id === undefined ? [] : [id];
  };
  const generation = (key: string): number[] => {
    const raw = files.generationConfig[key];
    return (Array.isArray(raw) ? raw : [raw]).filter((id): id is number => Number.isSafeInteger(id));
  };
  const firstNonEmpty = (...lists: (readonly number[])[]): readonly number[] =>
    lists.find((list) => list.length > 0) ?? [];
  const listOf = (id: number | null): number[] => (id === null ? [] : [id]);
  return {
    bosTokenId: firstNonEmpty(named('bos_token'), listOf(config.bosTokenId))[0] ?? null,
    eosTokenIds: firstNonEmpty(generation('eos_token_id'), config.eosTokenIds, named('eos_token')),
    padTokenId:
      firstNonEmpty(named('pad_token'), generation('pad_token_id'), listOf(config.padTokenId))[0] ?? null,
  };
}
