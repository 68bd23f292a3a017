import { parseModelConfig } from './config.js';
import type { ModelConfig } from './config.js';

/** Settings of the three architectures at toy size, for tests that need no reference values. */
const toys = {
  llama: { architectures: ['LlamaForCausalLM'] },
  qwen2: { architectures: ['Qwen2ForCausalLM'] },
  gemma2: {
    architectures: ['Gemma2ForCausalLM'],
    query_pre_attn_scalar: 16,
    sliding_window: 6,
    attn_logit_softcapping: 20,
    final_logit_softcapping: 10,
  },
} as const;

/** The architectures {@link toyConfig} knows. */
export type ToyArchitecture = keyof typeof toys;

/** A configuration of two small layers; `overrides` are config.json keys. */
export function toyConfig(
  architecture: ToyArchitecture,
  overrides: Readonly<Record<string, unknown>> = {},
): ModelConfig {
  return parseModelConfig({
    vocab_size: 61,
    hidden_size: 32,
    intermediate_size: 48,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 8,
    max_position_embeddings: 64,
    tie_word_embeddings: true,
    initializer_range: 0.2,
    rope_theta: 10000,
    ...toys[architecture],
    ...overrides,
  });
}

/** `count` reproducible token ids below `vocabulary`. */
export function toyTokens(count: number, seed: number, vocabulary = 61): number[] {
  let state = (seed * 2654435761) >>> 0;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * vocabulary);
  });
}
