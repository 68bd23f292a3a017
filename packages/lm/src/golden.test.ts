import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createGraph, createSession, productOf } from '@parley/graph';
import { attentionInputs, causalAttention } from './attention-graph.js';
import { loadCheckpoint } from './checkpoint.js';
import { parameterShapes } from './config-parameters.js';
import { createDecoderBuilder, decoderLayers, logitsOf } from './decoder-graph.js';
import type { Engine } from './engine.js';
import type { TrainSequence, Trainable } from './language-model.js';
import { weightFeeds } from './pass-runner.js';
import { decodeSafetensors, readSafetensors } from './safetensors.js';
import { createSequenceFeeds } from './sequence-feeds.js';
import { openTestEngine, testDevice } from './device-test-support.js';

const fixtures = fileURLToPath(new URL('../fixtures', import.meta.url));
const models = ['llama', 'llama-sharded', 'qwen2', 'qwen2-bf16', 'gemma2', 'gemma2-fp16'];
const trainedModels = ['llama', 'qwen2', 'gemma2'];

interface GoldenRun {
  readonly loss: number;
  readonly losses: number[];
  readonly gradientNorms: number[];
}

interface Golden {
  readonly greedy: { prompt: number[]; tokens: number[]; logProbabilities: number[] }[];
  readonly spans: { context: number[]; span: number[]; logProbabilities: number[]; sum: number }[];
  readonly batches: { ids: number[]; targetStart: number; weight: number }[][];
  readonly optimizer: {
    learningRate: number;
    beta1: number;
    beta2: number;
    epsilon: number;
    weightDecay: number;
    clipNorm: number;
  };
  readonly full: GoldenRun;
  readonly lora: GoldenRun & { rank: number; alpha: number; targets: string[] };
}

function golden(name: string): Golden {
  return JSON.parse(readFileSync(`${fixtures}/golden/${name}.json`, 'utf8')) as Golden;
}

function openEngine(name: string, trainable: Trainable = { kind: 'full' }): Promise<Engine> {
  const source = { kind: 'folder', folder: `${fixtures}/models/${name}` } as const;
  return openTestEngine(source, { trainable, threads: 1 });
}

function sequencesOf(batch: Golden['batches'][number]): TrainSequence[] {
  return batch.map(({ ids, targetStart, weight }) => ({
    prompt: ids.slice(0, targetStart),
    target: ids.slice(targetStart),
    weight,
  }));
}

function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.equal(a.length, b.length);
  let max = 0;
  for (let i = 0; i < a.length; i++) max = Math.max(max, Math.abs(a[i] - b[i]));
  return max;
}

/** ‖a − b‖ / ‖b‖ over all tensors together. */
function relativeError(pairs: readonly (readonly [Float32Array, Float32Array])[]): number {
  let difference = 0;
  let norm = 0;
  for (const [a, b] of pairs) {
    assert.equal(a.length, b.length);
    for (let i = 0; i < b.length; i++) {
      difference += (a[i] - b[i]) ** 2;
      norm += b[i] ** 2;
    }
  }
  return Math.sqrt(difference / norm);
}

/** Logits after every token of the given sequences, run as one padded batch. */
async function logits(folder: string, sequences: readonly number[][]): Promise<Float32Array[]> {
  const { config, tensors } = loadCheckpoint(folder);
  const g = createGraph('logits');
  const builder = createDecoderBuilder(g, config);
  const x = g.input('x', [productOf(['B', 'T']), config.hiddenSize]);
  const inputs = attentionInputs(builder, 'B', 'T', [1, 1, 1, 'T', 'T']);
  g.output(
    logitsOf(builder, decoderLayers(builder, x, causalAttention(builder, inputs, 'B', 'T'))),
    'logits',
  );
  await using session = await createSession(g, { threads: 1, spinning: false, device: testDevice });
  const weights = weightFeeds(tensors, parameterShapes(config));
  const batch = createSequenceFeeds(config).batch(sequences, weights);
  const used = Object.fromEntries(builder.used().map((name) => [name, weights[name]]));
  const outputs = await session.run({ ...batch.feeds, ...used });
  const all = outputs.logits.data as Float32Array;
  return sequences.map((s, row) => {
    const start = row * batch.tokens * config.vocabSize;
    return all.slice(start, start + s.length * config.vocabSize);
  });
}

for (const name of models) {
  test(`${name}: logits within 1e-4 of the reference`, async () => {
    using arrays = readSafetensors(`${fixtures}/golden/${name}.safetensors`);
    const sequences = [0, 1, 2].map((i) => [...new Int32Array(arrays.readBytes(`logits.${i}.ids`).buffer)]);
    const computed = await logits(`${fixtures}/models/${name}`, sequences);
    computed.forEach((values, i) => {
      const difference = maxDifference(values, arrays.readFloats(`logits.${i}.logits`));
      assert.ok(difference <= 1e-4, `sequence ${i}: ${difference}`);
    });
  });

  test(`${name}: greedy tokens identical, their log-probabilities within 1e-4`, async () => {
    const engine = await openEngine(name);
    const { greedy } = golden(name);
    const items = greedy.map(({ prompt }) => ({ prompt, seed: 0 }));
    const maxTokens = greedy[0].tokens.length;
    const completions = await engine.generate(items, { maxTokens, temperature: 0, stopTokens: [] }, {});
    completions.forEach((completion, i) => {
      assert.deepEqual(completion.tokens, greedy[i].tokens);
      assert.ok(maxDifference(completion.logProbs, greedy[i].logProbabilities) <= 1e-4);
      assert.equal(completion.finish, 'length');
    });
    await engine.close();
  });

  test(`${name}: span scores within 1e-4`, async () => {
    const engine = await openEngine(name);
    const { spans } = golden(name);
    const scores = await engine.score(
      spans.map(({ context, span }) => ({ prompt: context, target: span })),
      false,
    );
    scores.forEach((score, i) => {
      assert.ok(maxDifference(score.tokenLogProbs, spans[i].logProbabilities) <= 1e-4);
      assert.ok(Math.abs(score.logProb - spans[i].sum) <= 1e-3);
      assert.equal(score.tokens, spans[i].span.length);
    });
    await engine.close();
  });
}

for (const name of trainedModels) {
  const { optimizer, batches } = golden(name);
  const { clipNorm, ...settings } = optimizer;

  for (const kind of ['full', 'lora'] as const) {
    const start = async (): Promise<Engine> => {
      const { rank, alpha, targets } = golden(name).lora;
      const engine = await openEngine(
        name,
        kind === 'full' ? { kind } : { kind, rank, alpha, targets, seed: 0 },
      );
      if (kind === 'lora') {
        engine.importState(readFileSync(`${fixtures}/adapters/${name}/adapter_model.safetensors`), null);
      }
      return engine;
    };

    test(`${name}, ${kind}: whole-model gradient within 1e-4 of float64`, async () => {
      using arrays = readSafetensors(`${fixtures}/golden/${name}.safetensors`);
      const engine = await start();
      // Without momentum the first moment is the gradient itself.
      const step = await engine.trainStep(sequencesOf(batches[0]), {
        ...settings,
        beta1: 0,
        learningRate: 0,
        maxGradNorm: Infinity,
      });
      assert.ok(Math.abs(step.loss - golden(name)[kind].loss) <= 1e-5);
      using moments = decodeSafetensors(engine.exportState().optimizer, 'moments');
      const prefix = `${kind}.gradient.`;
      const names = [...arrays.entries.keys()]
        .filter((key) => key.startsWith(prefix))
        .map((key) => key.slice(prefix.length));
      assert.ok(names.length > 10);
      const pairs = names.map(
        (parameter) =>
          [moments.readFloats(`${parameter}.exp_avg`), arrays.readFloats(`${prefix}${parameter}`)] as const,
      );
      const error = relativeError(pairs);
      assert.ok(error <= 1e-4, `${error}`);
      await engine.close();
    });

    test(`${name}, ${kind}: ten AdamW steps follow the reference`, async () => {
      using arrays = readSafetensors(`${fixtures}/golden/${name}.safetensors`);
      const expected = golden(name)[kind];
      const engine = await start();
      for (const [i, batch] of batches.entries()) {
        const step = await engine.trainStep(sequencesOf(batch), { ...settings, maxGradNorm: clipNorm });
        assert.ok(
          Math.abs(step.loss - expected.losses[i]) <= 1e-4 * Math.max(1, expected.losses[i]),
          `loss ${i}`,
        );
        assert.ok(Math.abs(step.gradNorm / expected.gradientNorms[i] - 1) <= 1e-3, `norm ${i}`);
      }
      using weights = decodeSafetensors(engine.exportState().weights, 'weights');
      for (const parameter of weights.entries.keys()) {
        const difference = maxDifference(
          weights.readFloats(parameter),
          arrays.readFloats(`${kind}.final.${parameter}`),
        );
        assert.ok(difference <= 1e-4, `${parameter}: ${difference}`);
      }
      await engine.close();
    });
  }

  test(`${name}: merged adapter generates as the side path of the reference`, async () => {
    using arrays = readSafetensors(`${fixtures}/golden/${name}.safetensors`);
    const { rank, alpha, targets } = golden(name).lora;
    const engine = await openEngine(name, { kind: 'lora', rank, alpha, targets, seed: 0 });
    engine.importState(readFileSync(`${fixtures}/adapters/${name}/adapter_model.safetensors`), null);
    const ids = [...new Int32Array(arrays.readBytes('logits.1.ids').buffer)];
    const [score] = await engine.score([{ prompt: ids.slice(0, 1), target: ids.slice(1) }], false);
    const values = arrays.readFloats('lora.logits');
    const vocabulary = engine.info().vocabularySize;
    ids.slice(1).forEach((token, i) => {
      const row = values.subarray(i * vocabulary, (i + 1) * vocabulary);
      const logSum = Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0));
      assert.ok(Math.abs(score.tokenLogProbs[i] - (row[token] - logSum)) <= 1e-4);
    });
    await engine.close();
  });
}
