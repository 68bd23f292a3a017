import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertDevice } from '@parley/graph';
import type { Engine } from './engine.js';
import type { OptimizerSettings } from './adamw.js';
import type { EngineOptions, TrainSequence } from './language-model.js';
import { LmError } from './lm-error.js';
import { decodeSafetensors, encodeSafetensors } from './safetensors.js';
import { isEmulated, openTestEngine } from './device-test-support.js';
import { architectures, lora, openToy, sequence, settings } from './engine-test-support.js';
import { toyConfig, toyTokens } from './test-models.js';

/** Leaves the weights alone; without momentum the first moment is the gradient. */
const gradientOnly: OptimizerSettings = {
  ...settings,
  learningRate: 0,
  beta1: 0,
  weightDecay: 0,
  maxGradNorm: Infinity,
};
function gradients(engine: Engine): Map<string, Float32Array> {
  using reader = decodeSafetensors(engine.exportState().optimizer, 'moments');
  const names = [...reader.entries.keys()].filter((name) => name.endsWith('.exp_avg'));
  return new Map(names.map((name) => [name.slice(0, -'.exp_avg'.length), reader.readFloats(name)]));
}

function shifted(weights: Uint8Array, direction: ReadonlyMap<string, Float32Array>, by: number): Uint8Array {
  using reader = decodeSafetensors(weights, 'weights');
  return encodeSafetensors(
    new Map(
      [...reader.entries].map(([name, { shape }]) => {
        const d = direction.get(name)!;
        return [name, { shape, data: reader.readFloats(name).map((value, i) => value + by * d[i]) }];
      }),
    ),
  );
}

for (const architecture of architectures) {
  for (const trainable of [{ kind: 'full' } as const, lora]) {
    test(`${architecture}, ${trainable.kind}: the gradient of loss and KL anchor agrees with finite differences`, async () => {
      const engine = await openToy(architecture, { trainable });
      const batch = [
        sequence(9, 1, { anchorWeight: 2 }),
        sequence(14, 2, { weight: 0, anchorWeight: 1.5 }),
        sequence(11, 3, { weight: 0.7, tokenWeights: Float32Array.of(1, 3, 0, 1, 2) }),
      ];
      // Away from the reference, where KL has a slope.
      for (let i = 0; i < 5; i++) await engine.trainStep([sequence(12, 10 + i)], settings);
      const { weights } = engine.exportState();
      await engine.importState(weights, null);
      const { anchorLoss, gradNorm } = await engine.trainStep(batch, gradientOnly);
      assert.ok(anchorLoss > 1e-3, `${anchorLoss}`);
      const direction = new Map(
        [...gradients(engine)].map(([name, g]) => [name, g.map((value) => value / gradNorm)]),
      );
      const lossAt = async (offset: number): Promise<number> => {
        await engine.importState(shifted(weights, direction, offset), null);
        const step = await engine.trainStep(batch, gradientOnly);
        return step.loss + step.anchorLoss;
      };
      const epsilon = 2e-3;
      const slope = ((await lossAt(epsilon)) - (await lossAt(-epsilon))) / (2 * epsilon);
      assert.ok(Math.abs(slope / gradNorm - 1) < 2e-3, `${slope} against ${gradNorm}`);
      await engine.close();
    });
  }
}

test('the KL anchor can move to the current weights and back to the loaded ones', async () => {
  for (const trainable of [{ kind: 'full' } as const, lora]) {
    const engine = await openToy('llama', { trainable });
    const pull = () => engine.trainStep([sequence(12, 5, { weight: 0, anchorWeight: 1 })], gradientOnly);
    for (let i = 0; i < 3; i++) await engine.trainStep([sequence(12, i)], settings);
    const { anchorLoss: fromLoaded } = await pull();
    assert.ok(fromLoaded > 1e-4, `${fromLoaded}`);
    engine.anchorTo('current');
    assert.ok(Math.abs((await pull()).anchorLoss) < 1e-6);
    for (let i = 0; i < 3; i++) await engine.trainStep([sequence(12, i)], settings);
    assert.ok((await pull()).anchorLoss > 1e-5, 'the copy stays where it was taken');
    engine.anchorTo('loaded');
    assert.ok((await pull()).anchorLoss > fromLoaded / 2);
    await engine.close();
  }
});

test('the KL to the reference is zero before training, and the reference does not move', async () => {
  for (const trainable of [{ kind: 'full' } as const, lora]) {
    const engine = await openToy('llama', { trainable });
    const items = [{ prompt: toyTokens(5, 1), target: toyTokens(6, 2) }];
    const [before] = await engine.score(items, false);
    for (let i = 0; i < 3; i++) await engine.trainStep([sequence(12, i)], settings);
    // The reference is asked for only now, after training began.
    assert.deepEqual(await engine.score(items, true), [before]);
    assert.notEqual((await engine.score(items, false))[0].logProb, before.logProb);
    const fresh = await openToy('llama', { trainable });
    const step = await fresh.trainStep([sequence(12, 5, { weight: 0, anchorWeight: 1 })], gradientOnly);
    assert.ok(
      Math.abs(step.anchorLoss) < 1e-6 && step.gradNorm < 1e-4,
      `${step.anchorLoss} ${step.gradNorm}`,
    );
    await engine.close();
    await fresh.close();
  }
});

test('accumulating gradients over small passes gives the step of one large pass', async () => {
  const batch = [6, 9, 13, 20, 4].map((length, i) => sequence(length, i, { weight: 0.5 + i }));
  const [whole, parts] = await Promise.all([openToy('gemma2'), openToy('gemma2', { maxBatchTokens: 20 })]);
  const [a, b] = [await whole.trainStep(batch, gradientOnly), await parts.trainStep(batch, gradientOnly)];
  assert.ok(Math.abs(a.loss - b.loss) < 1e-5);
  const expected = gradients(whole);
  for (const [name, g] of gradients(parts)) {
    g.forEach((value, i) => assert.ok(Math.abs(value - expected.get(name)![i]) < 1e-5, name));
  }
  await Promise.all([whole.close(), parts.close()]);
});

test(
  'a loss too wide for one chunk gives the step of narrow ones',
  { skip: isEmulated && 'too wide to emulate' },
  async () => {
    // 112 rows of 300 000 logits are over the 2^24 computed at once; passes of 7 rows are under.
    const config = toyConfig('llama', { vocab_size: 300_000, hidden_size: 8, num_hidden_layers: 1 });
    const source = { kind: 'memory', config, seed: 1, weights: new Map() } as const;
    const batch = Array.from({ length: 8 }, (_, i) => sequence(14, i));
    const wide = await openTestEngine(source);
    const a = await wide.trainStep([...batch, ...batch], gradientOnly);
    await wide.close();
    const narrow = await openTestEngine(source, { maxBatchTokens: 13 });
    const b = await narrow.trainStep([...batch, ...batch], gradientOnly);
    await narrow.close();
    assert.ok(Math.abs(a.loss - b.loss) < 1e-5);
    assert.ok(Math.abs(a.gradNorm - b.gradNorm) < 1e-4 * b.gradNorm, `${a.gradNorm} ${b.gradNorm}`);
  },
);

test('sequences of weight 0 count in N and change nothing else', async () => {
  const engine = await openToy('llama');
  const one = await engine.trainStep([sequence(10, 1)], gradientOnly);
  const padded = await engine.trainStep([sequence(10, 1), sequence(17, 2, { weight: 0 })], gradientOnly);
  assert.ok(Math.abs(padded.loss - one.loss / 2) < 1e-6);
  assert.ok(Math.abs(padded.gradNorm - one.gradNorm / 2) < 1e-5);
  const none = await engine.trainStep([sequence(10, 1, { weight: 0 })], gradientOnly);
  assert.deepEqual([none.loss, none.gradNorm], [0, 0]);
  await engine.close();
});

test('the same calls give the same bytes', async () => {
  const run = async (): Promise<Uint8Array[]> => {
    const engine = await openToy('qwen2', { trainable: lora, threads: 2 });
    for (let i = 0; i < 3; i++) {
      await engine.trainStep([sequence(12, i), sequence(20, i + 9, { anchorWeight: 1 })], settings);
    }
    const { weights, optimizer } = engine.exportState();
    const [{ tokens, logProbs }] = await engine.generate(
      [{ prompt: toyTokens(4, 8), seed: 5 }],
      { maxTokens: 12, temperature: 1 },
      {},
    );
    await engine.close();
    return [weights, optimizer, Uint8Array.from(tokens), new Uint8Array(logProbs.buffer)];
  };
  assert.deepEqual(await run(), await run());
});

test('a restored state continues bit by bit as the original', async () => {
  for (const trainable of [{ kind: 'full' } as const, lora]) {
    const original = await openToy('gemma2', { trainable });
    for (let i = 0; i < 2; i++) await original.trainStep([sequence(12, i)], settings);
    const saved = original.exportState();
    const restored = await openToy('gemma2', { trainable });
    await restored.importState(saved.weights, saved.optimizer);
    assert.deepEqual(restored.exportState(), saved);
    assert.equal(restored.info().step, 2);
    await original.trainStep([sequence(15, 7)], settings);
    await restored.trainStep([sequence(15, 7)], settings);
    assert.deepEqual(restored.exportState(), original.exportState());
    await Promise.all([original.close(), restored.close()]);
  }
});

test('merged weights without an adapter behave as base and adapter together', async () => {
  const tuned = await openToy('qwen2', { trainable: lora });
  await tuned.trainStep([sequence(12, 1)], settings);
  const config = toyConfig('qwen2');
  const source = { kind: 'memory', config, seed: 0, weights: tuned.exportMerged() } as const;
  const merged = await openTestEngine(source);
  const items = [{ prompt: toyTokens(5, 1), target: toyTokens(9, 2) }];
  const [[expected], [found]] = await Promise.all(
    [tuned, merged].map((engine) => engine.score(items, false)),
  );
  expected.tokenLogProbs.forEach((value, i) => assert.ok(Math.abs(value - found.tokenLogProbs[i]) < 1e-5));
  await Promise.all([tuned.close(), merged.close()]);
});

test('generated log-probabilities are those that scoring gives, and entropy lies between 0 and log V', async () => {
  for (const architecture of architectures) {
    const engine = await openToy(architecture);
    const items = [2, 9, 20].map((length, i) => ({ prompt: toyTokens(length, i), seed: i }));
    const completions = await engine.generate(items, { maxTokens: 15, temperature: 0.8, topP: 0.9 }, {});
    const scores = await engine.score(
      items.map(({ prompt }, i) => ({ prompt, target: completions[i].tokens })),
      false,
    );
    completions.forEach(({ tokens, logProbs, meanEntropy }, i) => {
      assert.equal(logProbs.length, tokens.length);
      logProbs.forEach((value, t) => assert.ok(Math.abs(value - scores[i].tokenLogProbs[t]) < 1e-4));
      assert.ok(meanEntropy > 0 && meanEntropy <= Math.log(61) + 1e-6);
    });
    await engine.close();
  }
});

test('a stop token ends a sequence and is part of it', async () => {
  const engine = await openToy('llama');
  const items = Array.from({ length: 8 }, (_, seed) => ({ prompt: [1], seed }));
  const stopTokens = Array.from({ length: 15 }, (_, i) => i);
  const seen: number[] = [];
  const completions = await engine.generate(
    items,
    { maxTokens: 6, temperature: 1, stopTokens },
    {
      onCompletion: (index, completion) => {
        seen.push(index);
        assert.ok(completion.tokens.length > 0);
      },
    },
  );
  assert.deepEqual(seen.sort(), [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.ok(completions.some(({ finish }) => finish === 'stop'));
  for (const { tokens, finish } of completions) {
    assert.ok(tokens.slice(0, -1).every((token) => token >= 15));
    assert.equal(finish, tokens.at(-1)! < 15 ? 'stop' : 'length');
    if (finish === 'length') assert.equal(tokens.length, 6);
  }
  await engine.close();
});

test('samples of a model follow its own probabilities', async () => {
  const engine = await openToy('llama', { maxBatch: 256 });
  const prompt = toyTokens(4, 3);
  const draws = isEmulated ? 512 : 2048;
  const items = Array.from({ length: draws }, (_, seed) => ({ prompt, seed }));
  const completions = await engine.generate(items, { maxTokens: 1, temperature: 1, stopTokens: [] }, {});
  const scores = await engine.score(
    Array.from({ length: 61 }, (_, token) => ({ prompt, target: [token] })),
    false,
  );
  const expected = scores.map(({ logProb }) => Math.exp(logProb) * draws);
  const counts = new Array<number>(61).fill(0);
  for (const { tokens } of completions) counts[tokens[0]]++;
  // Chi-square with rare tokens pooled; 110 is beyond p = 1e-4 for 61 cells.
  let pooled = [0, 0];
  let chiSquare = 0;
  expected.forEach((value, token) => {
    if (value < 5) pooled = [pooled[0] + counts[token], pooled[1] + value];
    else chiSquare += (counts[token] - value) ** 2 / value;
  });
  if (pooled[1] > 0) chiSquare += (pooled[0] - pooled[1]) ** 2 / pooled[1];
  assert.ok(chiSquare < 110, `${chiSquare}`);
  await engine.close();
});

test('bad input is refused by name before anything changes', async () => {
  const engine = await openToy('llama', { trainable: lora });
  const before = engine.exportState();
  const refuses = (call: () => Promise<unknown>, reason: string, message: RegExp): Promise<void> =>
    assert.rejects(call, (error) => {
      assert.ok(error instanceof LmError);
      assert.equal(error.reason, reason);
      assert.match(error.message, message);
      return true;
    });
  const good = sequence(10, 1);
  const step = (bad: Partial<TrainSequence>) => () => engine.trainStep([good, { ...good, ...bad }], settings);
  await refuses(
    step({ weight: NaN }),
    'WEIGHT_NOT_FINITE',
    /batch\[1\]\.weight is NaN.*mend or drop sequence 1/,
  );
  await refuses(
    step({ anchorWeight: Infinity }),
    'WEIGHT_NOT_FINITE',
    /batch\[1\]\.anchorWeight is Infinity/,
  );
  const badWeights = Float32Array.of(1, NaN, 1, 1, 1);
  await refuses(
    step({ tokenWeights: badWeights }),
    'WEIGHT_NOT_FINITE',
    /batch\[1\]\.tokenWeights\[1\] is NaN/,
  );
  await refuses(
    step({ tokenWeights: Float32Array.of(1) }),
    'ARGUMENT_INVALID',
    /1 values for 5 target tokens/,
  );
  await refuses(
    step({ target: [] }),
    'ARGUMENT_INVALID',
    /batch\[1\]\.target is empty; give at least one token/,
  );
  await refuses(step({ target: [61] }), 'ARGUMENT_INVALID', /target\[0\] is 61;.*\[0, 61\)/);
  await refuses(() => engine.trainStep([], settings), 'ARGUMENT_INVALID', /batch is empty/);
  await refuses(
    () => engine.trainStep([good], { ...settings, beta2: 1 }),
    'ARGUMENT_INVALID',
    /beta2 is 1; give a number in \[0, 1\)/,
  );
  const options = { maxTokens: 30, temperature: 1 };
  const item = { prompt: toyTokens(40, 1), seed: 1 };
  await refuses(
    () => engine.generate([{ prompt: [1], seed: 1 }, item], options, {}),
    'PROMPT_TOO_LONG',
    /Item 1 has a prompt of 40 tokens; with 30 maxTokens it exceeds the model's context of 64.*Shorten/,
  );
  await refuses(
    () => engine.generate([{ prompt: [], seed: 1 }], options, {}),
    'ARGUMENT_INVALID',
    /prompt is empty/,
  );
  await refuses(
    () => engine.generate([item], { ...options, temperature: -1 }, {}),
    'ARGUMENT_INVALID',
    /temperature is -1, give 0 for greedy/,
  );
  await refuses(
    () => engine.score([{ prompt: toyTokens(40, 1), target: toyTokens(25, 1) }], false),
    'PROMPT_TOO_LONG',
    /Item 0.*25 target tokens/,
  );
  assert.deepEqual(engine.exportState(), before);
  await engine.close();
});

test('a state of another model or setting is refused and leaves the weights alone', async () => {
  const full = await openToy('llama');
  const adapter = await openToy('llama', { trainable: lora });
  const wider = await openToy('llama', { trainable: { ...lora, rank: 3 } });
  const before = adapter.exportState();
  const refuses = (
    weights: Uint8Array,
    optimizer: Uint8Array | null,
    reason: string,
    message: RegExp,
  ): Promise<void> =>
    assert.rejects(
      () => adapter.importState(weights, optimizer),
      (error) => error instanceof LmError && error.reason === reason && message.test(error.message),
    );
  await refuses(
    full.exportState().weights,
    null,
    'STATE_MISMATCH',
    /it has "model\.[^"]*".*same trainable setting/,
  );
  await refuses(wider.exportState().weights, null, 'TENSOR_SHAPE_MISMATCH', /lora_A/);
  await refuses(before.weights, before.weights, 'STATE_MISMATCH', /step count/);
  await refuses(before.weights.subarray(0, 40), null, 'SAFETENSORS_TRUNCATED', /truncated/);
  assert.deepEqual(adapter.exportState(), before);
  await Promise.all([full.close(), adapter.close(), wider.close()]);
});

/** Whether this machine has a device. */
async function runs(device: 'cuda'): Promise<boolean> {
  return (await assertDevice(device).catch((error: unknown) => error)) === undefined;
}

test('unusable options are refused by name', async () => {
  const refuses = (options: EngineOptions, reason: string, message: RegExp): Promise<void> =>
    assert.rejects(
      openToy('llama', options),
      (error) => error instanceof LmError && error.reason === reason && message.test(error.message),
    );
  await refuses({ threads: 0 }, 'ARGUMENT_INVALID', /threads is 0; give a positive integer/);
  await refuses({ trainable: { ...lora, rank: 0 } }, 'ARGUMENT_INVALID', /trainable\.rank is 0/);
  await refuses(
    { trainable: { ...lora, targets: ['w_proj'] } },
    'ARGUMENT_INVALID',
    /targets names "w_proj".*Choose from q_proj/,
  );
  if (await runs('cuda')) return;
  await refuses(
    { device: 'cuda' },
    'EXECUTION_PROVIDER_UNAVAILABLE',
    /device "cuda" cannot run here: .+\. CUDA needs .* driver, CUDA 12 and cuDNN 9 .*ONNXRUNTIME_NODE_INSTALL=cuda12.*"cpu"/,
  );
});
