import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createBaseWeightsBuilder, floatsOf } from './base-weights.js';
import type { BaseWeights } from './base-weights.js';
import { createForward } from './forward.js';
import { fineActivations } from './int8-linear.js';
import { initWeights } from './init-weights.js';
import type { Trainable, TrainSequence } from './language-model.js';
import { createModelWeights } from './model-weights.js';
import { createPassRunner } from './pass-runner.js';
import { createSequenceFeeds } from './sequence-feeds.js';
import { toyConfig, toyTokens } from './test-models.js';
import { createTrainer } from './trainer.js';
import type { Trainer } from './trainer.js';
import type { Kept } from './training-graph.js';

type Config = ReturnType<typeof toyConfig>;

/** Leaves the weights alone; without momentum the first moment is the gradient. */
const gradientOnly = {
  learningRate: 0,
  beta1: 0,
  beta2: 0.98,
  epsilon: 1e-8,
  weightDecay: 0,
  maxGradNorm: Infinity,
};
const lora: Trainable = { kind: 'lora', rank: 3, alpha: 6, seed: 3 };

function randomBase(config: Config, quantization: 'none' | 'int8'): BaseWeights {
  const builder = createBaseWeightsBuilder(config, quantization);
  initWeights(config, 1, new Map(), (name, values) => builder.add(name, values));
  return builder.finish();
}

async function withTrainer<T>(
  { config, base, trainable, keep }: { config: Config; base: BaseWeights; trainable: Trainable; keep: Kept },
  use: (trainer: Trainer) => Promise<T>,
): Promise<T> {
  const runner = createPassRunner({ device: 'cpu', threads: 2, spinning: false });
  const weights = createModelWeights(config, base, trainable, () => base);
  // B starts at zero, and A would have no gradient.
  for (const { name, data } of weights.trainable) {
    if (name.includes('lora_B')) data.forEach((_, i) => (data[i] = Math.sin(i + 1) * 0.05));
  }
  const sequences = createSequenceFeeds(config);
  const forward = createForward({ config, runner, sequences, weights, rounding: fineActivations });
  const plan = () => ({ keep, passTokens: 64, alone: true });
  try {
    return await use(createTrainer({ config, runner, sequences, forward, weights, plan }));
  } finally {
    await runner.dispose();
  }
}

const batch: TrainSequence[] = [14, 9, 30].map((length, i) => {
  const tokens = toyTokens(length, i);
  return {
    prompt: tokens.slice(0, 4),
    target: tokens.slice(4),
    weight: 1 + i,
    anchorWeight: i === 1 ? 0.5 : 0,
  };
});

async function gradientsOf(setting: Parameters<typeof withTrainer>[0]): Promise<Map<string, Float32Array>> {
  return withTrainer(setting, async (trainer) => {
    await trainer.step(batch, gradientOnly);
    return new Map([...trainer.state.moments].map(([name, { first }]) => [name, first]));
  });
}

/** ‖a − b‖ / ‖b‖ over all parameters together. */
function distance(a: ReadonlyMap<string, Float32Array>, b: ReadonlyMap<string, Float32Array>): number {
  let [difference, norm] = [0, 0];
  assert.deepEqual([...a.keys()], [...b.keys()]);
  for (const [name, expected] of b) {
    const actual = a.get(name)!;
    expected.forEach((value, i) => {
      difference += (actual[i] - value) ** 2;
      norm += value ** 2;
    });
  }
  assert.ok(norm > 0);
  return Math.sqrt(difference / norm);
}

for (const architecture of ['llama', 'qwen2', 'gemma2'] as const) {
  for (const tie_word_embeddings of [true, false]) {
    test(`${architecture}, tied ${tie_word_embeddings}: gradients are the same whatever is kept or computed again`, async () => {
      const config = toyConfig(architecture, { tie_word_embeddings });
      for (const trainable of [lora, { kind: 'full' } as const]) {
        const base = randomBase(config, 'none');
        const expected = await gradientsOf({ config, base, trainable, keep: 'all' });
        for (const keep of ['products', 'input'] as const) {
          const error = distance(await gradientsOf({ config, base, trainable, keep }), expected);
          assert.ok(error < 1e-5, `${trainable.kind}, ${keep}: ${error}`);
        }
      }
    });

    test(`${architecture}, tied ${tie_word_embeddings}: an 8-bit base gives the gradients of what its bits stand for`, async () => {
      const config = toyConfig(architecture, { tie_word_embeddings });
      const base = randomBase(config, 'int8');
      const floats = createBaseWeightsBuilder(config, 'none');
      for (const name of [...base.quantized.keys(), ...base.floats.keys()])
        floats.add(name, floatsOf(base, name));
      const reference = floats.finish();
      const plain = batch.map((sequence) => ({ ...sequence, anchorWeight: 0 }));
      const run = (of: BaseWeights, keep: Kept) =>
        withTrainer({ config, base: of, trainable: lora, keep }, async (trainer) => {
          const { loss } = await trainer.step(plain, gradientOnly);
          const losses = await trainer.losses(plain);
          return {
            loss,
            losses,
            gradients: new Map([...trainer.state.moments].map(([name, m]) => [name, m.first])),
          };
        });
      const expected = await run(reference, 'all');
      for (const keep of ['all', 'products', 'input'] as const) {
        const actual = await run(base, keep);
        assert.ok(Math.abs(actual.loss - expected.loss) < 1e-5 * expected.loss);
        const error = distance(actual.gradients, expected.gradients);
        assert.ok(error < 1e-4, `${keep}: ${error}`);
        actual.losses.forEach((nll, i) => assert.ok(Math.abs(nll - expected.losses[i]) < 1e-4));
      }
    });
  }
}

test('the losses of a probe are those that a step weighs', async () => {
  const config = toyConfig('gemma2');
  const setting = { config, base: randomBase(config, 'none'), trainable: lora, keep: 'products' } as const;
  await withTrainer(setting, async (trainer) => {
    const plain = batch.map(({ prompt, target }) => ({ prompt, target, weight: 1 }));
    const losses = await trainer.losses(plain);
    const { loss } = await trainer.step(plain, gradientOnly);
    let at = 0;
    const means = plain.map(({ target }) => {
      const own = losses.subarray(at, (at += target.length));
      return own.reduce((a, b) => a + b, 0) / own.length;
    });
    assert.equal(at, losses.length);
    assert.ok(Math.abs(means.reduce((a, b) => a + b, 0) / means.length - loss) < 1e-5);
  });
});
