import { FAMILIES, NAMES, OBJECTS } from './families.js';
import { CHAT_TEMPLATE, SPECIAL_TOKENS } from './prompt.js';

/** One token a number: learned four times faster than digits at this size. */
const NUMBERS = Array.from({ length: 100 }, (_, n) => String(n));
const SPECIALS: readonly string[] = [
  SPECIAL_TOKENS.pad,
  SPECIAL_TOKENS.begin,
  SPECIAL_TOKENS.end,
  SPECIAL_TOKENS.respond,
  SPECIAL_TOKENS.verify,
  ...SPECIAL_TOKENS.speakers,
  SPECIAL_TOKENS.unknown,
];

/** Every token, in the order of its id: specials first. */
export function demoVocabulary(): string[] {
  const words = FAMILIES.flatMap(({ template }) => template.split(' ')).filter(
    (word) => !/^[NMOabc]$/.test(word),
  );
  return [
    ...new Set([
      ...SPECIALS,
      ...['A', 'yes', 'no', ';', '=', '?'],
      ...NUMBERS,
      ...['+', '-', '*', '/'],
      ...words,
      ...NAMES,
      ...OBJECTS,
    ]),
  ];
}

/** Ids of the tokens 0 … 99, for embeddings that start out knowing that numbers are ordered. */
export function numberTokenIds(): number[] {
  const vocabulary = demoVocabulary();
  return NUMBERS.map((number) => vocabulary.indexOf(number));
}

/** The parsed contents of a Hugging Face tokenizer. */
export interface TokenizerFiles {
  /** tokenizer.json */
  readonly tokenizer: Readonly<Record<string, unknown>>;
  /** tokenizer_config.json */
  readonly tokenizerConfig: Readonly<Record<string, unknown>>;
}

/** The demo peers' tokenizer: whole words between spaces; what it does not know becomes `<unk>`. */
export function demoTokenizerFiles(): TokenizerFiles {
  const vocabulary = demoVocabulary();
  const { begin, end, pad, unknown } = SPECIAL_TOKENS;
  const addedTokens = SPECIALS.map((content) => ({
    id: vocabulary.indexOf(content),
    content,
    single_word: false,
    lstrip: true,
    rstrip: true,
    normalized: false,
    special: true,
  }));
  return {
    tokenizer: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: addedTokens,
      normalizer: null,
      pre_tokenizer: { type: 'WhitespaceSplit' },
      post_processor: null,
      decoder: null,
      model: {
        type: 'WordLevel',
        vocab: Object.fromEntries(vocabulary.map((token, id) => [token, id])),
        unk_token: unknown,
      },
    },
    tokenizerConfig: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      bos_token: begin,
      eos_token: end,
      pad_token: pad,
      unk_token: unknown,
      add_bos_token: false,
      add_eos_token: false,
      clean_up_tokenization_spaces: false,
      model_max_length: 256,
      chat_template: CHAT_TEMPLATE,
    },
  };
}
