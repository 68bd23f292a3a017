import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseModelConfig } from './config.js';
import type { ModelConfig } from './config.js';
import { parameterShapes } from './config-parameters.js';
import { createEngine } from './engine.js';
import { logitsAfterEachToken, maxDifference, sequencesOf } from './golden-test-support.js';
import type { GoldenSequence } from './golden-test-support.js';
import { hashedValues } from './hashed-values.js';
import { fixturesFolder, readGolden } from './io-test-support.js';
import type { Trainable } from './language-model.js';
import { loraAdapters } from './lora.js';
import { decodeSafetensors, encodeSafetensors, readSafetensors } from './safetensors.js';

/** A random configuration with what transformers and PEFT make of it. */
interface SweepCase {
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** Of the weights, by {@link hashedValues}. */
  readonly seed: number;
  readonly ids: number[];
  readonly greedy: { readonly prompt: number[]; readonly tokens: number[] };
  readonly adapter: { r: number; lora_alpha: number; use_rslora: boolean; target_modules: string[] };
  readonly batches: GoldenSequence[][];
  readonly losses: number[];
}

const cases = readGolden('sweep.json') as SweepCase[];

/** As `hashed_model` in reference/fixture_sweep.py. */
function hashedWeights(config: ModelConfig, seed: number) {
  const weights = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const [name, shape] of parameterShapes(config)) {
    const count = shape.reduce((a, b) => a * b, 1);
    const values = (scale: number) => hashedValues(seed, name, count, scale);
    const isTable = name.includes('embed_tokens') || name.includes('lm_head');
    const centre = name.includes('norm') && config.normStyle === 'weight' ? 1 : 0;
    const data =
      shape.length === 1
        ? values(0.4).map((value) => centre + value)
        : values(isTable ? (config.tiedEmbeddings ? 0.2 : 0.5) : 2 * shape[1] ** -0.5);
    weights.set(name, { shape, data });
  }
  return weights;
}

function adapterWeights(config: ModelConfig, trainable: Trainable & { kind: 'lora' }, seed: number) {
  const tensors = loraAdapters(config, trainable).flatMap(({ nameA, shapeA, nameB, shapeB }) => [
    [
      nameA,
      { shape: shapeA, data: hashedValues(seed, nameA, shapeA[0] * shapeA[1], shapeA[1] ** -0.5) },
    ] as const,
    [nameB, { shape: shapeB, data: hashedValues(seed, nameB, shapeB[0] * shapeB[1], 0.1) }] as const,
  ]);
  return encodeSafetensors(new Map(tensors));
}

for (const { name, config: source, seed, ids, greedy, adapter, batches, losses } of cases) {
  const config = parseModelConfig(source);
  const weights = hashedWeights(config, seed);

  test(`${name}: logits within 1e-4 of transformers`, async () => {
    using arrays = readSafetensors(join(fixturesFolder, 'golden', 'sweep.safetensors'));
    const tensors = new Map([...weights].map(([key, { data }]) => [key, data]));
    const [values] = await logitsAfterEachToken({ config, tensors }, [ids]);
    const difference = maxDifference(values, arrays.readFloats(`${name}.logits`));
    assert.ok(difference <= 1e-4, `${difference}`);
  });

  test(`${name}: greedy tokens are transformers', 20 LoRA losses within 1e-3 of PEFT's`, async () => {
    const { r, lora_alpha, use_rslora, target_modules } = adapter;
    const alpha = use_rslora ? lora_alpha * Math.sqrt(r) : lora_alpha;
    const trainable = { kind: 'lora', rank: r, alpha, targets: target_modules, seed: 0 } as const;
    const engine = await createEngine(
      { kind: 'memory', config, seed: 0, weights },
      { trainable, threads: 1 },
      () => undefined,
    );
    const [completion] = await engine.generate(
      [{ prompt: greedy.prompt, seed: 0 }],
      { maxTokens: greedy.tokens.length, temperature: 0, stopTokens: [] },
      {},
    );
    assert.deepEqual(completion.tokens, greedy.tokens);
    await engine.importState(adapterWeights(config, trainable, seed), null);
    const settings = {
      learningRate: 2e-3,
      beta1: 0.9,
      beta2: 0.98,
      epsilon: 1e-8,
      weightDecay: 0,
      maxGradNorm: 1,
    };
    assert.equal(losses.length, 20);
    for (const [i, batch] of batches.entries()) {
      const { loss } = await engine.trainStep(sequencesOf(batch), settings);
      assert.ok(Math.abs(loss / losses[i] - 1) <= 1e-3, `step ${i}: ${loss} instead of ${losses[i]}`);
    }
    using trained = decodeSafetensors(engine.exportState().weights, 'the adapter');
    assert.equal(trained.entries.size, 2 * loraAdapters(config, trainable).length);
    await engine.close();
  });
}

test('the sweep switches on every option of every architecture', () => {
  const configs = cases.map(({ config }) => parseModelConfig(config));
  const families = new Set(configs.map(({ architecture }) => architecture));
  assert.equal(families.size, 5);
  const options: Record<string, (config: ModelConfig) => unknown> = {
    grouping: ({ headCount, kvHeadCount }) =>
      kvHeadCount === headCount ? 'MHA' : kvHeadCount === 1 ? 'MQA' : 'GQA',
    tied: ({ tiedEmbeddings }) => tiedEmbeddings,
    vocabulary: ({ vocabSize }) => vocabSize % 2,
    rope: ({ rope }) => rope.scaling !== null,
  };
  const own: Record<string, Record<string, (config: ModelConfig) => unknown>> = {
    LlamaForCausalLM: { attention: (c) => c.biases.output, mlp: (c) => c.biases.mlp },
    Qwen2ForCausalLM: { windows: windowKind },
    Gemma2ForCausalLM: {
      attention: (c) => c.biases.output,
      cap: (c) => c.attentionSoftCap !== null,
      finalCap: (c) => c.finalSoftCap !== null,
    },
    Qwen3ForCausalLM: { attention: (c) => c.biases.queryKeyValue, windows: windowKind },
    MistralForCausalLM: { windows: windowKind },
  };
  for (const family of families) {
    const group = configs.filter(({ architecture }) => architecture === family);
    assert.ok(group.some(({ headDim, hiddenSize, headCount }) => headDim !== hiddenSize / headCount));
    for (const [option, read] of Object.entries({ ...options, ...own[family] })) {
      const values = new Set(group.map(read));
      assert.ok(
        values.size >= (option === 'grouping' ? 3 : 2),
        `${family}, ${option}: only ${[...values].join()}`,
      );
    }
  }
});

function windowKind({ windows }: ModelConfig): string {
  return windows.every((window) => window === null) ? 'none' : windows.includes(null) ? 'some' : 'all';
}
