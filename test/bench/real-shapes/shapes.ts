import { parseModelConfig } from '@parley/lm';
import type { ModelConfig } from '@parley/lm';

/** A config.json, as it is written for us and for the programs we compare with. */
export type ModelShape = Readonly<Record<string, unknown>> & {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
};

const qwen2 = {
  architectures: ['Qwen2ForCausalLM'],
  model_type: 'qwen2',
  vocab_size: 151936,
  max_position_embeddings: 32768,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000,
  hidden_act: 'silu',
  tie_word_embeddings: true,
  use_sliding_window: false,
  initializer_range: 0.02,
  bos_token_id: 151643,
  eos_token_id: 151645,
};

/** Qwen2.5-0.5B: 494 million parameters, tied embeddings, biases at query, key and value. */
export const qwenHalfBillion: ModelShape = {
  ...qwen2,
  hidden_size: 896,
  intermediate_size: 4864,
  num_hidden_layers: 24,
  num_attention_heads: 14,
  num_key_value_heads: 2,
};

/** Qwen2.5-1.5B: 1544 million parameters, tied embeddings. */
export const qwenOneAndAHalfBillion: ModelShape = {
  ...qwen2,
  hidden_size: 1536,
  intermediate_size: 8960,
  num_hidden_layers: 28,
  num_attention_heads: 12,
  num_key_value_heads: 2,
};

/** The shape in which `npm run bench` measures training: d = 256, 6 layers. */
export const smallLlama: ModelShape = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 2048,
  hidden_size: 256,
  intermediate_size: 1024,
  num_hidden_layers: 6,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 64,
  max_position_embeddings: 256,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: 'silu',
  tie_word_embeddings: true,
  initializer_range: 0.02,
  bos_token_id: 1,
  eos_token_id: 2,
};

/** What our engine makes of a shape. */
export function configOf(shape: ModelShape): ModelConfig {
  return parseModelConfig(shape);
}

/** A token that depends on its sequence and place and is none of the first three; the same on both sides. */
export function tokenAt(shape: ModelShape, sequence: number, position: number): number {
  return 3 + ((sequence * 977 + position * 31) % (shape.vocab_size - 3));
}

/** `count` tokens of one sequence. */
export function tokensOf(shape: ModelShape, sequence: number, count: number, from = 0): number[] {
  return Array.from({ length: count }, (_, i) => tokenAt(shape, sequence, from + i));
}
