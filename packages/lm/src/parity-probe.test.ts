import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Quantization } from './language-model.js';
import { LmError } from './lm-error.js';
import { parityBounds, probeSequence, requireParity } from './parity-probe.js';
import { openTestEngine, testDevice } from './device-test-support.js';
import { toyConfig } from './test-models.js';
import type { ToyArchitecture } from './test-models.js';

const settings = {
  learningRate: 0.05,
  beta1: 0.9,
  beta2: 0.98,
  epsilon: 1e-8,
  weightDecay: 0,
  maxGradNorm: 1,
};
const lora = { kind: 'lora', rank: 2, alpha: 4, seed: 3 } as const;

for (const architecture of ['llama', 'qwen2', 'gemma2'] as ToyArchitecture[]) {
  for (const options of [
    {},
    { trainable: lora },
    { trainable: lora, quantization: 'int8' },
    { trainable: lora, quantization: 'w8a8' },
  ] as const) {
    const { quantization = 'none' }: { quantization?: Quantization } = options;
    const skip = quantization !== 'none' && testDevice !== 'cpu' && '8-bit weights run on the CPU only';
    test(
      `${architecture}, ${JSON.stringify(options)}: served and trained agree after every step`,
      { skip },
      async () => {
        const config = toyConfig(architecture);
        const engine = await openTestEngine({ kind: 'memory', config, seed: 1, weights: new Map() }, options);
        const bound = parityBounds[quantization];
        const sequence = { prompt: [1, 2, 3, 4], target: [5, 6, 7, 8, 9], weight: 1 };
        for (let i = 0; i < 4; i++) {
          assert.ok((await engine.checkParity()) <= bound / 4, 'with room to spare');
          await engine.trainStep([sequence], settings);
        }
        await engine.close();
      },
    );
  }
}

test('a disagreement, or a value that is not a number, is refused with both values', () => {
  const served = Float32Array.of(-1, -2, -3);
  assert.ok(Math.abs(requireParity(served, Float32Array.of(-1, -2.001, -3), 2e-3) - 1e-3) < 1e-6);
  for (const other of [-2.5, NaN, -Infinity]) {
    assert.throws(
      () => requireParity(served, Float32Array.of(-1, other, -3), 2e-3),
      (error) =>
        error instanceof LmError &&
        error.reason === 'PARITY_BROKEN' &&
        error.message.includes(
          `token 1 of the probe has log-probability -2 as served and ${other} as trained`,
        ),
    );
  }
});

test('the probe fits small vocabularies and contexts', () => {
  const { prompt, target } = probeSequence({ ...toyConfig('llama'), vocabSize: 3, maxPositions: 5 });
  assert.equal(prompt.length + target.length, 5);
  for (const token of [...prompt, ...target]) assert.ok(token >= 0 && token < 3);
});
