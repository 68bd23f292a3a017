/** The linear and norm modules of one decoder layer, by what they do; an architecture says what each is called. */
export type LayerRole =
  | 'inputNorm'
  | 'query'
  | 'key'
  | 'value'
  | 'queryNorm'
  | 'keyNorm'
  | 'output'
  | 'postAttentionNorm'
  | 'mlpNorm'
  | 'gate'
  | 'up'
  | 'down'
  | 'postMlpNorm';

/** A switch that is fixed by the architecture or read from a boolean of config.json (absent means false). */
export type BiasRule = boolean | { readonly configKey: string };

/**
 * What sets a decoder-only architecture apart from the others, as data. Everything else (pre-norm residual blocks,
 * rotary positions, grouped-query attention, a gated MLP) is common to all. A new family is a new entry.
 */
export interface ArchitectureSpec {
  /** RMSNorm multiplies by w, or by 1 + w with weights centred on zero. */
  readonly normStyle: 'weight' | 'one-plus-weight';
  /** Further norms after attention and MLP, before the residual sum. */
  readonly postNorms: boolean;
  /** RMSNorm of each head's query and key before rotation, with one weight for all heads. */
  readonly queryKeyNorms: boolean;
  /** The key of config.json that names the activation, and its value when absent. */
  readonly activation: { readonly configKey: string; readonly fallback: string };
  readonly biases: {
    readonly queryKeyValue: BiasRule;
    readonly output: BiasRule;
    readonly mlp: BiasRule;
  };
  /** Embeddings are multiplied by √hidden on the way in. */
  readonly scalesEmbeddings: boolean;
  /** Attention scores are multiplied by head_dim^-½, or by query_pre_attn_scalar^-½. */
  readonly queryScale: 'head-dim' | 'query_pre_attn_scalar';
  /** Whether logits·cap⁻¹ → tanh → ·cap may apply (keys attn_logit_softcapping and final_logit_softcapping). */
  readonly softCaps: boolean;
  /** Which layers see a window: none, all, or those config.json's layer_types says, or else this pattern. */
  readonly windows: 'none' | 'all' | 'alternating' | 'from-max-window-layers';
  /** Values of config.json keys that transformers leaves out when they equal the architecture's own defaults. */
  readonly defaults: Readonly<Record<string, number | boolean>>;
  /** Module names inside `model.layers.N.`. */
  readonly layerModules: Readonly<Partial<Record<LayerRole, string>>>;
}

const sharedModules = {
  inputNorm: 'input_layernorm',
  query: 'self_attn.q_proj',
  key: 'self_attn.k_proj',
  value: 'self_attn.v_proj',
  output: 'self_attn.o_proj',
  gate: 'mlp.gate_proj',
  up: 'mlp.up_proj',
  down: 'mlp.down_proj',
} as const;

const plainDecoder = {
  normStyle: 'weight',
  postNorms: false,
  queryKeyNorms: false,
  activation: { configKey: 'hidden_act', fallback: 'silu' },
  scalesEmbeddings: false,
  queryScale: 'head-dim',
  softCaps: false,
  layerModules: { ...sharedModules, mlpNorm: 'post_attention_layernorm' },
} as const;

/** The supported architectures, by the name config.json gives under `architectures`. */
export const architectures: Readonly<Record<string, ArchitectureSpec>> = {
  LlamaForCausalLM: {
    ...plainDecoder,
    biases: {
      queryKeyValue: { configKey: 'attention_bias' },
      output: { configKey: 'attention_bias' },
      mlp: { configKey: 'mlp_bias' },
    },
    windows: 'none',
    defaults: { rms_norm_eps: 1e-6, tie_word_embeddings: false, bos_token_id: 1, eos_token_id: 2 },
  },
  Qwen2ForCausalLM: {
    ...plainDecoder,
    biases: { queryKeyValue: true, output: false, mlp: false },
    windows: 'from-max-window-layers',
    defaults: { rms_norm_eps: 1e-6, tie_word_embeddings: false, sliding_window: 4096, max_window_layers: 28 },
  },
  Qwen3ForCausalLM: {
    ...plainDecoder,
    queryKeyNorms: true,
    biases: {
      queryKeyValue: { configKey: 'attention_bias' },
      output: { configKey: 'attention_bias' },
      mlp: false,
    },
    windows: 'from-max-window-layers',
    defaults: {
      rms_norm_eps: 1e-6,
      tie_word_embeddings: false,
      head_dim: 128,
      sliding_window: 4096,
      max_window_layers: 28,
    },
    layerModules: {
      ...plainDecoder.layerModules,
      queryNorm: 'self_attn.q_norm',
      keyNorm: 'self_attn.k_norm',
    },
  },
  MistralForCausalLM: {
    ...plainDecoder,
    biases: { queryKeyValue: false, output: false, mlp: false },
    windows: 'all',
    defaults: {
      rms_norm_eps: 1e-6,
      tie_word_embeddings: false,
      bos_token_id: 1,
      eos_token_id: 2,
      num_key_value_heads: 8,
      sliding_window: 4096,
    },
  },
  Gemma2ForCausalLM: {
    normStyle: 'one-plus-weight',
    postNorms: true,
    queryKeyNorms: false,
    activation: { configKey: 'hidden_activation', fallback: 'gelu_pytorch_tanh' },
    biases: {
      queryKeyValue: { configKey: 'attention_bias' },
      output: { configKey: 'attention_bias' },
      mlp: false,
    },
    scalesEmbeddings: true,
    queryScale: 'query_pre_attn_scalar',
    softCaps: true,
    windows: 'alternating',
    defaults: {
      rms_norm_eps: 1e-6,
      tie_word_embeddings: true,
      head_dim: 256,
      bos_token_id: 2,
      eos_token_id: 1,
      pad_token_id: 0,
      query_pre_attn_scalar: 256,
      sliding_window: 4096,
      attn_logit_softcapping: 50,
      final_logit_softcapping: 30,
    },
    layerModules: {
      ...sharedModules,
      postAttentionNorm: 'post_attention_layernorm',
      mlpNorm: 'pre_feedforward_layernorm',
      postMlpNorm: 'post_feedforward_layernorm',
    },
  },
};
