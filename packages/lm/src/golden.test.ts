import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { loadCheckpoint } from './checkpoint.js';
import type { Engine } from './engine.js';
import { logitsAfterEachToken, maxDifference, sequencesOf } from './golden-test-support.js';
import type { GoldenSequence } from './golden-test-support.js';
import { modelNames } from './io-test-support.js';
import type { Trainable } from './language-model.js';
import { decodeSafetensors, readSafetensors } from './safetensors.js';
import { openTestEngine } from './device-test-support.js';

const fixtures = fileURLToPath(new URL('../fixtures', import.meta.url));
const trainedModels = ['llama', 'qwen2', 'gemma2', 'qwen3', 'mistral'];

interface GoldenRun {
  readonly loss: number;
  readonly losses: number[];
  readonly gradientNorms: number[];
}

interface Golden {
  readonly greedy: { prompt: number[]; tokens: number[]; logProbabilities: number[] }[];
  readonly spans: { context: number[]; span: number[]; logProbabilities: number[]; sum: number }[];
  readonly batches: GoldenSequence[][];
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

for (const name of modelNames) {
  test(`${name}: logits within 1e-4 of the reference`, async () => {
    using arrays = readSafetensors(`${fixtures}/golden/${name}.safetensors`);
    const sequences = [0, 1, 2].map((i) => [...new Int32Array(arrays.readBytes(`logits.${i}.ids`).buffer)]);
    const computed = await logitsAfterEachToken(loadCheckpoint(`${fixtures}/models/${name}`), sequences);
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
        await engine.importState(
          readFileSync(`${fixtures}/adapters/${name}/adapter_model.safetensors`),
          null,
        );
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

    test(`${name}, ${kind}: AdamW steps follow the reference, ${kind === 'lora' ? 'which is PEFT' : 'PyTorch'}`, async () => {
      using arrays = readSafetensors(`${fixtures}/golden/${name}.safetensors`);
      const expected = golden(name)[kind];
      assert.equal(expected.losses.length, kind === 'lora' ? 20 : 10);
      const engine = await start();
      for (const [i, batch] of batches.slice(0, expected.losses.length).entries()) {
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

  test(`${name}: scores with an adapter are those of the reference`, async () => {
    using arrays = readSafetensors(`${fixtures}/golden/${name}.safetensors`);
    const { rank, alpha, targets } = golden(name).lora;
    const engine = await openEngine(name, { kind: 'lora', rank, alpha, targets, seed: 0 });
    await engine.importState(readFileSync(`${fixtures}/adapters/${name}/adapter_model.safetensors`), null);
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
