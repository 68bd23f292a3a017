import { CHAT_TEMPLATE, SPECIAL_TOKENS } from './prompt.js';
import type { Task } from './task.js';

const SPECIALS: readonly string[] = [
  SPECIAL_TOKENS.pad,
  SPECIAL_TOKENS.begin,
  SPECIAL_TOKENS.end,
  SPECIAL_TOKENS.respond,
  SPECIAL_TOKENS.verify,
  ...SPECIAL_TOKENS.speakers,
  SPECIAL_TOKENS.unknown,
];

/** Every token of a task's peers, in the order of its id: specials first. */
export function taskVocabulary(task: Task): string[] {
  return [...new Set([...SPECIALS, ...task.words])];
}

/** The parsed contents of a Hugging Face tokenizer. */
export interface TokenizerFiles {
  /** tokenizer.json */
  readonly tokenizer: Readonly<Record<string, unknown>>;
  /** tokenizer_config.json */
  readonly tokenizerConfig: Readonly<Record<string, unknown>>;
}

/** The tokenizer of a task's peers: whole words between spaces; what it does not know becomes `<unk>`. */
export function taskTokenizerFiles(task: Task): TokenizerFiles {
  const vocabulary = taskVocabulary(task);
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
