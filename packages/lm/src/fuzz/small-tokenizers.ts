import type { FuzzBase } from './fuzz-case.js';

const bytes = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
const letters = [...'abcdefghijklmnopqrstuvwxyzTWQ0123456789?!+=.'];

/** Tokenizers of the kinds that the fixture models do not use, each with a configuration of fitting size. */
export function smallTokenizers(): FuzzBase[] {
  return [
    base('unigram', {
      normalizer: {
        type: 'Sequence',
        normalizers: [{ type: 'Precompiled', precompiled_charsmap: '' }, { type: 'NFKC' }],
      },
      pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
      post_processor: {
        type: 'TemplateProcessing',
        single: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: '</s>', type_id: 0 } }],
        pair: [],
        special_tokens: { '</s>': { id: '</s>', ids: [1], tokens: ['</s>'] } },
      },
      decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
      model: {
        type: 'Unigram',
        unk_id: 2,
        vocab: [
          ['<pad>', 0],
          ['</s>', 0],
          ['<unk>', 0],
          ['▁', -2],
          ['▁the', -3],
          ...letters.map((c, i) => [c, -4 - i / 10]),
        ],
        byte_fallback: false,
      },
    }),
    base('wordpiece', {
      normalizer: {
        type: 'BertNormalizer',
        clean_text: true,
        handle_chinese_chars: true,
        strip_accents: null,
        lowercase: true,
      },
      pre_tokenizer: { type: 'BertPreTokenizer' },
      post_processor: { type: 'BertProcessing', sep: ['[SEP]', 1], cls: ['[CLS]', 0] },
      decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
      model: {
        type: 'WordPiece',
        unk_token: '[UNK]',
        continuing_subword_prefix: '##',
        max_input_chars_per_word: 100,
        vocab: Object.fromEntries(
          ['[CLS]', '[SEP]', '[UNK]', ...letters, ...letters.map((c) => `##${c}`)].map((t, i) => [t, i]),
        ),
      },
    }),
    base('wordlevel', {
      normalizer: {
        type: 'Sequence',
        normalizers: [
          { type: 'Lowercase' },
          { type: 'Replace', pattern: { Regex: ' {2,}' }, content: ' ' },
          { type: 'Strip', strip_left: true, strip_right: true },
        ],
      },
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [
          { type: 'WhitespaceSplit' },
          { type: 'Punctuation' },
          { type: 'Digits', individual_digits: true },
        ],
      },
      post_processor: {
        type: 'RobertaProcessing',
        sep: ['</s>', 1],
        cls: ['<s>', 0],
        trim_offsets: true,
        add_prefix_space: true,
      },
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { Regex: '▁+' }, content: ' ' },
          { type: 'Strip', content: ' ', start: 1, stop: 0 },
        ],
      },
      model: {
        type: 'WordLevel',
        unk_token: '<unk>',
        vocab: Object.fromEntries(['<s>', '</s>', '<unk>', 'what', 'is', ...letters].map((t, i) => [t, i])),
      },
    }),
  ];
}

function base(label: string, parts: Record<string, unknown> & { model: Record<string, unknown> }): FuzzBase {
  const size = Object.keys(parts.model['vocab'] as object).length;
  const added = {
    id: size,
    content: '<x>',
    single_word: false,
    lstrip: true,
    rstrip: true,
    normalized: true,
    special: false,
  };
  return {
    label,
    files: {
      'tokenizer.json': bytes({
        version: '1.0',
        truncation: null,
        padding: null,
        added_tokens: [added],
        ...parts,
      }),
      'tokenizer_config.json': bytes({
        unk_token: label === 'wordpiece' ? '[UNK]' : '<unk>',
        eos_token: { content: '</s>', special: true },
        additional_special_tokens: ['<x>'],
        chat_template: [{ name: 'default', template: '{{ bos_token }}{{ messages[0].content }}' }],
      }),
      'config.json': bytes({
        architectures: ['LlamaForCausalLM'],
        vocab_size: size + 1,
        hidden_size: 8,
        intermediate_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        max_position_embeddings: 64,
      }),
    },
    targets: { 'tokenizer.json': 'json', 'tokenizer_config.json': 'json' },
  };
}
