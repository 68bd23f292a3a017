import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testDevice } from './device-test-support.js';
import type { Engine } from './engine.js';
import { architectures, lora, openToy, sequence, settings } from './engine-test-support.js';
import { LmError } from './lm-error.js';
import { toyTokens } from './test-models.js';

/** What holds on the CPU alone: equal bits, and 8-bit weights. */
const onCpu = testDevice !== 'cpu' && 'holds on the CPU only';
/** Long enough for several pieces of a prompt, and for caches of several sizes. */
const roomy = { max_position_embeddings: 1024 };

const held = [
  {},
  { trainable: lora },
  { trainable: lora, quantization: 'int8' },
  { trainable: lora, quantization: 'w8a8' },
] as const;

for (const architecture of architectures) {
  for (const options of held) {
    test(
      `${architecture}, ${JSON.stringify(options)}: what a sequence gets does not depend, in any bit, on what runs beside it`,
      { skip: onCpu },
      async () => {
        const engine = await openToy(architecture, { maxBatch: 5, maxBatchTokens: 300, ...options }, roomy);
        for (let i = 0; i < 3 && 'trainable' in options; i++)
          await engine.trainStep([sequence(12, i)], settings);
        const items = [3, 17, 8, 300, 8, 1, 12, 61, 62, 64, 130, 270, 520].map((length, i) => ({
          prompt: toyTokens(length, i),
          seed: 100 + i,
        }));
        const short = { maxTokens: 20, temperature: 1, stopTokens: [7] };
        const long = { maxTokens: 150, temperature: 0.7, topK: 9, stopTokens: [] };
        const together = await engine.generate(items, short, {});
        assert.deepEqual(await engine.generate(items, short, {}), together);
        const [crowded] = await Promise.all([
          engine.generate(items, short, {}),
          engine.generate(items.slice(0, 4), long, {}),
          engine.score([{ prompt: toyTokens(40, 1), target: toyTokens(9, 2) }], false),
        ]);
        assert.deepEqual(crowded, together);
        for (const [i, item] of items.entries()) {
          assert.deepEqual(await engine.generate([item], short, {}), [together[i]]);
        }
        await engine.close();
      },
    );
  }
}

test(
  'sequences enter and leave a running batch: a long answer does not hold up short ones',
  { skip: onCpu },
  async () => {
    const engine = await openToy('llama', { maxBatch: 2 }, roomy);
    const order: string[] = [];
    const ask = (name: string, maxTokens: number, count: number) =>
      engine.generate(
        Array.from({ length: count }, (_, i) => ({ prompt: toyTokens(5 + i, i), seed: i })),
        { maxTokens, temperature: 1, stopTokens: [] },
        { onCompletion: (index) => order.push(`${name}${index}`) },
      );
    await Promise.all([ask('long', 400, 1), ask('short', 10, 6)]);
    assert.deepEqual(order, ['short0', 'short1', 'short2', 'short3', 'short4', 'short5', 'long0']);
    await engine.close();
  },
);

test(
  'a long prompt is read piece by piece while others go on, and others do not starve it',
  { skip: onCpu },
  async () => {
    const engine = await openToy('qwen2', { maxBatch: 4 }, roomy);
    const order: string[] = [];
    const ask = (name: string, promptTokens: number, maxTokens: number, count: number) =>
      engine.generate(
        Array.from({ length: count }, (_, i) => ({ prompt: toyTokens(promptTokens, i), seed: i })),
        { maxTokens, temperature: 1, stopTokens: [] },
        { onCompletion: () => order.push(name) },
      );
    await Promise.all([ask('long', 900, 2, 1), ask('short', 4, 2, 20)]);
    assert.equal(order.indexOf('short'), 0);
    assert.ok(order.indexOf('long') < order.length - 1, order.join());
    await engine.close();
  },
);

test('with LoRA, sequences under way end with the version they began with while updates are applied', async () => {
  const engine = await openToy('llama', { trainable: lora }, roomy);
  const items = [4, 9].map((length, i) => ({ prompt: toyTokens(length, i), seed: i }));
  const options = { maxTokens: 60, temperature: 1, stopTokens: [] };
  const before = await engine.generate(items, options, {});
  const underWay = engine.generate(items, options, {});
  const done: string[] = [];
  void underWay.then(() => done.push('generation'));
  for (let i = 0; i < 3; i++) await engine.trainStep([sequence(12, i)], settings);
  done.push('training');
  const after = engine.generate(items, options, {});
  assert.deepEqual(await underWay, before);
  assert.notDeepEqual(await after, before);
  assert.deepEqual(done, ['training', 'generation'], 'neither waited for the other');
  await engine.close();
});

test('with all weights training, a step waits for the sequences under way', async () => {
  const engine = await openToy('llama', {}, roomy);
  const items = [{ prompt: toyTokens(4, 1), seed: 1 }];
  const options = { maxTokens: 60, temperature: 1, stopTokens: [] };
  const before = await engine.generate(items, options, {});
  const underWay = engine.generate(items, options, {});
  await engine.trainStep([sequence(12, 1)], settings);
  assert.deepEqual(await underWay, before);
  assert.notDeepEqual(await engine.generate(items, options, {}), before);
  await engine.close();
});

test('a failing sequence fails its own call and no other', async () => {
  const engine = await openToy('llama', {}, roomy);
  const items = [{ prompt: toyTokens(4, 1), seed: 1 }];
  const options = { maxTokens: 30, temperature: 1, stopTokens: [] };
  const abort = new AbortController();
  const aborted = engine.generate(items, options, { signal: abort.signal });
  const kept = engine.generate(items, options, {});
  setImmediate(() => abort.abort());
  await assert.rejects(aborted, (error) => error instanceof LmError && error.reason === 'ABORTED');
  assert.deepEqual(await kept, await engine.generate(items, options, {}));
  await engine.close();
});

test('answers to one question score the same with and without reading it once', { skip: onCpu }, async () => {
  for (const options of [{}, { trainable: lora, quantization: 'int8' }] as const) {
    // In 8 bits, the last bits of an activation can decide between two levels.
    const tolerance = 'quantization' in options ? 2e-3 : 1e-4;
    // Wide enough that sharing pays.
    const engine = await openToy('gemma2', options, { ...roomy, hidden_size: 128, intermediate_size: 2048 });
    const prompt = toyTokens(290, 1);
    const items = [9, 1, 30, 12].map((length, i) => ({ prompt, target: toyTokens(length, i + 2) }));
    const together = await engine.score(items, false);
    for (const [i, item] of items.entries()) {
      const [alone] = await engine.score([item], false);
      alone.tokenLogProbs.forEach((value, t) => {
        assert.ok(
          Math.abs(value - together[i].tokenLogProbs[t]) < tolerance,
          `${value} ${together[i].tokenLogProbs[t]}`,
        );
      });
    }
    await engine.close();
  }
});

for (const options of held) {
  test(
    `${JSON.stringify(options)}: scores and samples of a wide vocabulary are the same while both are computed`,
    { skip: onCpu },
    async () => {
      const ask = (engine: Engine, seed: number) =>
        engine.generate(
          [1, 2, 3].map((i) => ({ prompt: toyTokens(4 + i, i), seed: seed + i })),
          { maxTokens: 12, temperature: 1, stopTokens: [] },
          {},
        );
      const score = (engine: Engine, seed: number) =>
        engine.score(
          [1, 2].map((i) => ({ prompt: toyTokens(6, seed + i), target: toyTokens(5, seed - i) })),
          false,
        );
      const open = () => openToy('llama', options, { vocab_size: 5003 });
      const [alone, crowded] = [await open(), await open()];
      const expected = [
        await ask(alone, 1),
        await score(alone, 10),
        await score(alone, 20),
        await ask(alone, 30),
      ];
      // From the first pass on, which each compiles its graphs for.
      const found = await Promise.all([
        ask(crowded, 1),
        score(crowded, 10),
        score(crowded, 20),
        ask(crowded, 30),
      ]);
      // An entropy's sum rounds by the shape of the batch.
      const exact = (results: typeof expected) =>
        results.map((result) => result.map((one) => ('finish' in one ? { ...one, meanEntropy: 0 } : one)));
      assert.deepEqual(exact(found), exact(expected));
      await Promise.all([alone.close(), crowded.close()]);
    },
  );
}
