import { join } from 'node:path';
import { architectures } from './config-architectures.js';
import type { ArchitectureSpec, BiasRule } from './config-architectures.js';
import { createConfigFields } from './config-fields.js';
import type { ConfigFields } from './config-fields.js';
import { readJsonFile } from './config-json.js';
import { LmError } from './lm-error.js';
import { preview } from './preview.js';

/** Llama-3's frequency-dependent stretching of RoPE (`rope_type: "llama3"`); see transformers' modeling_rope_utils. */
export interface Llama3RopeScaling {
  readonly factor: number;
  readonly lowFreqFactor: number;
  readonly highFreqFactor: number;
  readonly originalMaxPositions: number;
}

/**
 * A decoder-only model in full, independent of which architecture and which transformers version described it. Plain
 * data, deeply frozen: it may be posted to a worker thread.
 */
export interface ModelConfig {
  /** As config.json spells it, for instance `LlamaForCausalLM`. */
  readonly architecture: string;
  /** Rows of the embedding, which may exceed the tokenizer's entries. */
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layerCount: number;
  readonly headCount: number;
  /** Key and value heads; each serves headCount / kvHeadCount query heads in a row. */
  readonly kvHeadCount: number;
  readonly headDim: number;
  /** The longest context, in tokens. */
  readonly maxPositions: number;
  readonly normEps: number;
  readonly normStyle: 'weight' | 'one-plus-weight';
  /** Norms after attention and MLP too, before the residual sum. */
  readonly postNorms: boolean;
  /** RMSNorm of each head's query and key before rotation. */
  readonly queryKeyNorms: boolean;
  readonly activation: 'silu' | 'gelu-tanh';
  /** Logits use the embedding matrix; there is no `lm_head.weight`. */
  readonly tiedEmbeddings: boolean;
  /** Multiplied onto embeddings on the way in (1 for most). */
  readonly embeddingScale: number;
  /** Multiplied onto q·k. */
  readonly queryScale: number;
  /** Scores become cap · tanh(scores / cap) before masking; null for none. */
  readonly attentionSoftCap: number | null;
  /** Logits become cap · tanh(logits / cap); null for none. */
  readonly finalSoftCap: number | null;
  readonly biases: { readonly queryKeyValue: boolean; readonly output: boolean; readonly mlp: boolean };
  /** By layer: the number of latest positions, itself included, that a position attends to; null for all. */
  readonly windows: readonly (number | null)[];
  readonly rope: { readonly theta: number; readonly scaling: Llama3RopeScaling | null };
  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
  readonly padTokenId: number | null;
  /** config.json as read, for saving the model again. */
  readonly source: Readonly<Record<string, unknown>>;
}

/**
 * The largest value of each size: an order of magnitude above any published model of these families, and small enough
 * that nothing derived from a configuration alone (names, windows) takes noticeable memory.
 */
const largest = {
  layers: 1024,
  heads: 4096,
  width: 1 << 20,
  vocabulary: 1 << 24,
  positions: 2 ** 31,
} as const;

/**
 * Reads `config.json` of a Hugging Face model folder.
 * @throws LmError `FILE_MISSING`, `JSON_INVALID`, `ARCHITECTURE_UNKNOWN`, `CONFIG_INVALID`.
 */
export function readModelConfig(folder: string): ModelConfig {
  const path = join(folder, 'config.json');
  return parseModelConfig(readJsonFile(path), path);
}

/**
 * Normalises the content of a config.json. Both spellings of the rotary settings are understood: `rope_theta` with
 * `rope_scaling` (transformers 4) and `rope_parameters` (transformers 5).
 * @param label names the document in error messages.
 * @throws LmError `ARCHITECTURE_UNKNOWN` or `CONFIG_INVALID`, naming the field, the value and what is supported.
 */
export function parseModelConfig(
  source: Readonly<Record<string, unknown>>,
  label = 'config.json',
): ModelConfig {
  const { architecture, spec } = findArchitecture(source, label);
  const fields = createConfigFields(source, spec.defaults, label);
  const hiddenSize = fields.size('hidden_size', largest.width);
  const headCount = fields.size('num_attention_heads', largest.heads);
  const kvHeadCount = fields.size('num_key_value_heads', largest.heads, headCount);
  const headDim = fields.optionalSize('head_dim', largest.width) ?? hiddenSize / headCount;
  const layerCount = fields.size('num_hidden_layers', largest.layers);
  const maxPositions = fields.size('max_position_embeddings', largest.positions);
  if (headCount % kvHeadCount !== 0) {
    throw fields.invalid('num_key_value_heads', `a divisor of num_attention_heads (${headCount})`);
  }
  if (!Number.isInteger(headDim)) {
    throw fields.invalid('num_attention_heads', `a divisor of "hidden_size" (${hiddenSize}), or "head_dim"`);
  }
  if (headDim % 2 !== 0) {
    throw fields.invalid(
      'head_dim',
      'an even number, for rotary positions (if absent, "hidden_size" / "num_attention_heads")',
    );
  }
  if (fields.flag('use_bidirectional_attention')) {
    throw fields.invalid('use_bidirectional_attention', 'false: this engine runs causal models');
  }
  const isOn = (rule: BiasRule): boolean => (typeof rule === 'boolean' ? rule : fields.flag(rule.configKey));
  const scaleBase = spec.queryScale === 'head-dim' ? headDim : fields.positive('query_pre_attn_scalar');
  return deepFreeze({
    architecture,
    vocabSize: fields.size('vocab_size', largest.vocabulary),
    hiddenSize,
    intermediateSize: fields.size('intermediate_size', largest.width),
    layerCount,
    headCount,
    kvHeadCount,
    headDim,
    maxPositions,
    normEps: fields.positive('rms_norm_eps'),
    normStyle: spec.normStyle,
    postNorms: spec.postNorms,
    queryKeyNorms: spec.queryKeyNorms,
    activation: readActivation(fields, spec),
    tiedEmbeddings: fields.flag('tie_word_embeddings'),
    embeddingScale: spec.scalesEmbeddings ? Math.sqrt(hiddenSize) : 1,
    queryScale: 1 / Math.sqrt(scaleBase),
    attentionSoftCap: spec.softCaps ? fields.optionalPositive('attn_logit_softcapping') : null,
    finalSoftCap: spec.softCaps ? fields.optionalPositive('final_logit_softcapping') : null,
    biases: {
      queryKeyValue: isOn(spec.biases.queryKeyValue),
      output: isOn(spec.biases.output),
      mlp: isOn(spec.biases.mlp),
    },
    windows: readWindows(fields, spec, layerCount),
    rope: readRope(fields, maxPositions),
    bosTokenId: fields.tokenIds('bos_token_id')[0] ?? null,
    eosTokenIds: fields.tokenIds('eos_token_id'),
    padTokenId: fields.tokenIds('pad_token_id')[0] ?? null,
    source: structuredClone(source),
  });
}

/** The description of a model's architecture, for what {@link ModelConfig} does not carry itself (module names). */
export function architectureOf(config: Pick<ModelConfig, 'architecture'>): ArchitectureSpec {
  return findArchitecture({ architectures: [config.architecture] }, 'the configuration').spec;
}

function findArchitecture(source: Readonly<Record<string, unknown>>, label: string) {
  const names = Array.isArray(source['architectures']) ? (source['architectures'] as unknown[]) : [];
  const architecture = names.find((name) => typeof name === 'string' && Object.hasOwn(architectures, name));
  if (typeof architecture === 'string') return { architecture, spec: architectures[architecture] };
  const found =
    names.length > 0
      ? names
          .slice(0, 3)
          .map((name) => (typeof name === 'string' && name !== '' ? name.slice(0, 100) : preview(name)))
          .join(', ')
      : `none named (model_type ${preview(source['model_type'])})`;
  throw new LmError(
    'ARCHITECTURE_UNKNOWN',
    `${label}: unknown architecture: ${found}. Supported: ${Object.keys(architectures).join(', ')}. ` +
      'Choose a model of one of these families, which "architectures" names.',
    { details: { file: label, field: 'architectures', architecture: found } },
  );
}

function readActivation(fields: ConfigFields, spec: ArchitectureSpec): ModelConfig['activation'] {
  const { configKey, fallback } = spec.activation;
  const name = fields.text(configKey, fallback);
  if (name === 'silu' || name === 'swish') return 'silu';
  if (name === 'gelu_pytorch_tanh' || name === 'gelu_new') return 'gelu-tanh';
  throw fields.invalid(configKey, 'silu or gelu_pytorch_tanh');
}

function readWindows(fields: ConfigFields, spec: ArchitectureSpec, layerCount: number): (number | null)[] {
  const layers = Array.from({ length: layerCount }, (_, layer) => layer);
  if (spec.windows === 'none') return layers.map(() => null);
  if (spec.windows === 'from-max-window-layers' && !fields.flag('use_sliding_window'))
    return layers.map(() => null);
  const window = fields.optionalSize('sliding_window', largest.positions);
  if (spec.windows === 'all') return layers.map(() => window);
  const types = fields.layerTypes(layerCount);
  if (types !== null) return types.map((type) => (type === 'sliding_attention' ? window : null));
  if (spec.windows === 'alternating') return layers.map((layer) => (layer % 2 === 0 ? window : null));
  const firstWindowed = fields.count('max_window_layers');
  return layers.map((layer) => (layer >= firstWindowed ? window : null));
}

function readRope(fields: ConfigFields, maxPositions: number): ModelConfig['rope'] {
  const parameters = fields.nested('rope_parameters') ?? fields.nested('rope_scaling');
  const theta = (fields.nested('rope_parameters') ?? fields).positive('rope_theta', 10000);
  if (parameters === null) return { theta, scaling: null };
  if (parameters.positive('partial_rotary_factor', 1) !== 1) {
    throw parameters.invalid('partial_rotary_factor', '1: every dimension of a head is rotated');
  }
  const type = parameters.text('rope_type', parameters.text('type', 'default'));
  if (type === 'default') return { theta, scaling: null };
  if (type !== 'llama3') throw parameters.invalid('rope_type', 'default or llama3');
  return {
    theta,
    scaling: {
      factor: parameters.positive('factor'),
      lowFreqFactor: parameters.positive('low_freq_factor'),
      highFreqFactor: parameters.positive('high_freq_factor'),
      originalMaxPositions: parameters.size(
        'original_max_position_embeddings',
        largest.positions,
        maxPositions,
      ),
    },
  };
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) Object.values(value).forEach(deepFreeze);
  return Object.freeze(value);
}
