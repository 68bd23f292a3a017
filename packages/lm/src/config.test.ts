import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseModelConfig, readModelConfig } from './config.js';
import { parameterCount, parameterNames, parameterShapes } from './config-parameters.js';
import { modelFolder, modelNames, rejects, temporaryFolder } from './io-test-support.js';
import { openWeights } from './checkpoint-files.js';

/** As published with meta-llama/Llama-3.2-1B. */
const llama32 = {
  architectures: ['LlamaForCausalLM'],
  attention_bias: false,
  bos_token_id: 128000,
  eos_token_id: [128001, 128008, 128009],
  head_dim: 64,
  hidden_act: 'silu',
  hidden_size: 2048,
  intermediate_size: 8192,
  max_position_embeddings: 131072,
  mlp_bias: false,
  model_type: 'llama',
  num_attention_heads: 32,
  num_hidden_layers: 16,
  num_key_value_heads: 8,
  rms_norm_eps: 1e-5,
  rope_scaling: {
    factor: 32,
    high_freq_factor: 4,
    low_freq_factor: 1,
    original_max_position_embeddings: 8192,
    rope_type: 'llama3',
  },
  rope_theta: 500000,
  tie_word_embeddings: true,
  vocab_size: 128256,
};

/** As published with Qwen/Qwen2.5-0.5B. */
const qwen25 = {
  architectures: ['Qwen2ForCausalLM'],
  bos_token_id: 151643,
  eos_token_id: 151643,
  hidden_act: 'silu',
  hidden_size: 896,
  intermediate_size: 4864,
  max_position_embeddings: 32768,
  max_window_layers: 24,
  model_type: 'qwen2',
  num_attention_heads: 14,
  num_hidden_layers: 24,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000,
  sliding_window: 32768,
  tie_word_embeddings: true,
  use_sliding_window: false,
  vocab_size: 151936,
};

/** As published with google/gemma-2-2b. */
const gemma22b = {
  architectures: ['Gemma2ForCausalLM'],
  attention_bias: false,
  attn_logit_softcapping: 50,
  bos_token_id: 2,
  eos_token_id: 1,
  final_logit_softcapping: 30,
  head_dim: 256,
  hidden_act: 'gelu_pytorch_tanh',
  hidden_activation: 'gelu_pytorch_tanh',
  hidden_size: 2304,
  intermediate_size: 9216,
  max_position_embeddings: 8192,
  model_type: 'gemma2',
  num_attention_heads: 8,
  num_hidden_layers: 26,
  num_key_value_heads: 4,
  pad_token_id: 0,
  query_pre_attn_scalar: 256,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  sliding_window: 4096,
  vocab_size: 256000,
};

/** As published with Qwen/Qwen3-0.6B. */
const qwen3 = {
  architectures: ['Qwen3ForCausalLM'],
  attention_bias: false,
  bos_token_id: 151643,
  eos_token_id: 151645,
  head_dim: 128,
  hidden_act: 'silu',
  hidden_size: 1024,
  intermediate_size: 3072,
  max_position_embeddings: 40960,
  max_window_layers: 28,
  model_type: 'qwen3',
  num_attention_heads: 16,
  num_hidden_layers: 28,
  num_key_value_heads: 8,
  rms_norm_eps: 1e-6,
  rope_scaling: null,
  rope_theta: 1000000,
  sliding_window: null,
  tie_word_embeddings: true,
  use_sliding_window: false,
  vocab_size: 151936,
};

/** As published with mistralai/Mistral-7B-v0.1. */
const mistral = {
  architectures: ['MistralForCausalLM'],
  bos_token_id: 1,
  eos_token_id: 2,
  hidden_act: 'silu',
  hidden_size: 4096,
  intermediate_size: 14336,
  max_position_embeddings: 32768,
  model_type: 'mistral',
  num_attention_heads: 32,
  num_hidden_layers: 32,
  num_key_value_heads: 8,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  sliding_window: 4096,
  tie_word_embeddings: false,
  vocab_size: 32000,
};

test('published configurations are understood, down to the number of parameters', () => {
  const llama = parseModelConfig(llama32);
  assert.equal(parameterCount(llama), 1_235_814_400);
  assert.deepEqual(llama.eosTokenIds, [128001, 128008, 128009]);
  assert.deepEqual(llama.rope, {
    theta: 500000,
    scaling: { factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 },
  });
  assert.equal(llama.queryScale, 0.125);

  const qwen = parseModelConfig(qwen25);
  assert.equal(parameterCount(qwen), 494_032_768);
  assert.deepEqual(qwen.biases, { queryKeyValue: true, output: false, mlp: false });
  assert.ok(qwen.windows.every((window) => window === null));

  const third = parseModelConfig(qwen3);
  assert.equal(parameterCount(third), 596_049_920);
  assert.deepEqual([third.queryKeyNorms, third.headDim, third.biases.output], [true, 128, false]);

  const seven = parseModelConfig(mistral);
  assert.equal(parameterCount(seven), 7_241_732_096);
  assert.deepEqual([seven.headDim, ...new Set(seven.windows)], [128, 4096]);
  const later = parseModelConfig({ ...mistral, sliding_window: null });
  assert.ok(later.windows.every((window) => window === null));

  const gemma = parseModelConfig(gemma22b);
  assert.equal(parameterCount(gemma), 2_614_341_888);
  assert.deepEqual(gemma.windows.slice(0, 3), [4096, null, 4096]);
  assert.equal(gemma.embeddingScale, 48);
  assert.equal(gemma.tiedEmbeddings, true);
  assert.deepEqual([gemma.attentionSoftCap, gemma.finalSoftCap, gemma.queryScale], [50, 30, 1 / 16]);
  assert.deepEqual(
    [gemma.activation, gemma.normStyle, gemma.postNorms],
    ['gelu-tanh', 'one-plus-weight', true],
  );
});

test('the rotary spellings of transformers 4 and 5 mean the same', () => {
  const { rope_theta, rope_scaling, ...rest } = llama32;
  const modern = parseModelConfig({ ...rest, rope_parameters: { ...rope_scaling, rope_theta } });
  assert.deepEqual({ ...modern, source: null }, { ...parseModelConfig(llama32), source: null });
  const { rope_theta: theta, ...plain } = qwen25;
  assert.deepEqual(
    parseModelConfig({ ...plain, rope_parameters: { rope_type: 'default', rope_theta: theta } }).rope,
    { theta, scaling: null },
  );
  assert.equal(parseModelConfig({ ...qwen25, rope_theta: undefined }).rope.theta, 10000);
});

test('windows follow layer_types, and without them the pattern of the family', () => {
  const windows = (extra: object) =>
    parseModelConfig({ ...qwen25, num_hidden_layers: 3, sliding_window: 9, ...extra }).windows;
  assert.deepEqual(windows({ use_sliding_window: true, max_window_layers: 0 }), [9, 9, 9]);
  assert.deepEqual(windows({ use_sliding_window: true, max_window_layers: 2 }), [null, null, 9]);
  assert.deepEqual(windows({ use_sliding_window: false, max_window_layers: 0 }), [null, null, null]);
  const layer_types = ['full_attention', 'sliding_attention', 'full_attention'];
  assert.deepEqual(windows({ use_sliding_window: true, layer_types }), [null, 9, null]);
  assert.deepEqual(parseModelConfig({ ...gemma22b, num_hidden_layers: 3, layer_types }).windows, [
    null,
    4096,
    null,
  ]);
});

test('what transformers leaves out has its defaults; an explicit null switches soft-caps off', () => {
  const { head_dim: _h, query_pre_attn_scalar: _q, attn_logit_softcapping: _a, ...sparse } = gemma22b;
  const config = parseModelConfig({ ...sparse, final_logit_softcapping: null });
  assert.deepEqual([config.headDim, config.queryScale], [256, 1 / 16]);
  assert.deepEqual([config.attentionSoftCap, config.finalSoftCap], [50, null]);
  const { num_key_value_heads: _k, head_dim: _d, ...ungrouped } = llama32;
  assert.deepEqual([parseModelConfig(ungrouped).kvHeadCount, parseModelConfig(ungrouped).headDim], [32, 64]);
});

for (const name of modelNames) {
  test(`${name}: parameter names and shapes are those transformers wrote`, () => {
    const config = readModelConfig(modelFolder(name));
    using weights = openWeights(modelFolder(name));
    const written = weights.readers.flatMap(({ entries }) =>
      [...entries].map(([key, { shape }]) => [key, shape]),
    );
    assert.deepEqual(
      new Map([...parameterShapes(config)].sort()),
      new Map((written as [string, number[]][]).sort()),
    );
  });
}

test('a norm is named by what it does, whatever the family calls it', () => {
  const [gemma] = parameterNames(parseModelConfig(gemma22b)).layers;
  assert.equal(gemma.mlpNorm, 'model.layers.0.pre_feedforward_layernorm.weight');
  assert.equal(gemma.postAttentionNorm, 'model.layers.0.post_attention_layernorm.weight');
  const [llama] = parameterNames(parseModelConfig(llama32)).layers;
  assert.equal(llama.mlpNorm, 'model.layers.0.post_attention_layernorm.weight');
  assert.equal(llama.postAttentionNorm, null);
});

test('a configuration is frozen all the way down and does not follow its source', () => {
  const source = structuredClone(llama32);
  const config = parseModelConfig(source);
  source.rope_scaling.factor = 1;
  assert.equal(config.rope.scaling?.factor, 32);
  assert.throws(() => ((config.source['rope_scaling'] as { factor: number }).factor = 2), TypeError);
  assert.throws(() => ((config.windows as (number | null)[])[0] = 1), TypeError);
});

test('an unknown architecture is named, with the supported ones', () => {
  rejects(
    'ARCHITECTURE_UNKNOWN',
    /m\.json: unknown architecture: MambaForCausalLM\. Supported: Llama.*Qwen2.*Gemma2/,
    () => parseModelConfig({ architectures: ['MambaForCausalLM'] }, 'm.json'),
  );
  rejects('ARCHITECTURE_UNKNOWN', /none named \(model_type "t5"\)/, () =>
    parseModelConfig({ model_type: 't5' }),
  );
  rejects('ARCHITECTURE_UNKNOWN', /toString/, () => parseModelConfig({ architectures: ['toString'] }));
});

test('fields that are missing, malformed or unsupported are named with their value and what is expected', () => {
  const refused = (pattern: RegExp, extra: object, base: object = llama32): void =>
    rejects('CONFIG_INVALID', pattern, () => parseModelConfig({ ...base, ...extra }, 'c.json'));
  refused(/c\.json: "hidden_size" is absent; expected a positive integer/, { hidden_size: undefined });
  refused(/"num_hidden_layers" is 2\.5/, { num_hidden_layers: 2.5 });
  refused(/"num_key_value_heads" is 5; expected a divisor of num_attention_heads \(32\)/, {
    num_key_value_heads: 5,
  });
  refused(/"hidden_act" is "relu"; expected silu or gelu/, { hidden_act: 'relu' });
  refused(/c\.json rope_scaling: "rope_type" is "yarn"/, { rope_scaling: { rope_type: 'yarn' } });
  refused(/c\.json rope_scaling: "factor" is absent/, { rope_scaling: { rope_type: 'llama3' } });
  refused(/"partial_rotary_factor" is 0\.5/, {
    rope_scaling: null,
    rope_parameters: { rope_theta: 1, partial_rotary_factor: 0.5 },
  });
  refused(/"layer_types" is .*expected 26 entries/, { layer_types: ['full_attention'] }, gemma22b);
  refused(/"use_bidirectional_attention" is true/, { use_bidirectional_attention: true }, gemma22b);
  refused(/"tie_word_embeddings" is "yes"/, { tie_word_embeddings: 'yes' });
  refused(/"eos_token_id" is -1; expected token ids/, { eos_token_id: -1 });
  refused(/"head_dim" is 7; expected an even number/, { head_dim: 7 });
});

test('a config.json that is missing or not JSON is named', (t) => {
  const folder = temporaryFolder(t);
  rejects('FILE_MISSING', /config\.json does not exist.*download/, () => readModelConfig(folder));
  writeFileSync(join(folder, 'config.json'), '{"hidden_size": ');
  rejects('JSON_INVALID', /config\.json is not a JSON object.*again/, () => readModelConfig(folder));
  writeFileSync(join(folder, 'config.json'), '[]');
  rejects('JSON_INVALID', /config\.json is not a JSON object/, () => readModelConfig(folder));
});
