import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createEngine } from './engine.js';
import type { EngineOptions } from './language-model.js';
import { toyConfig, toyTokens } from './test-models.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const steps = 1000;
/** Steps until every graph is compiled and every buffer has its size. */
const warmUp = 300;
const settings = {
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.98,
  epsilon: 1e-8,
  weightDecay: 0.01,
  maxGradNorm: 1,
};

/** Bytes in use after everything that nobody holds is gone: of JavaScript with its buffers, and of the whole process. */
function inUse(): { javascript: number; resident: number } {
  collectGarbage();
  const { heapUsed, external, rss } = process.memoryUsage();
  return { javascript: heapUsed + external, resident: rss };
}

const settingsOf: Record<string, EngineOptions> = {
  'all weights': { trainable: { kind: 'full' } },
  'LoRA on an 8-bit base': {
    trainable: { kind: 'lora', rank: 2, alpha: 4, seed: 3 },
    quantization: 'int8',
    recompute: true,
  },
};

for (const [name, options] of Object.entries(settingsOf)) {
  test(`${name}: memory does not grow over ${steps} steps of training, scoring, generation and restoring`, async () => {
    const source = { kind: 'memory', config: toyConfig('qwen2'), seed: 1, weights: new Map() } as const;
    const engine = await createEngine(source, options, () => undefined);
    const samples: { javascript: number; resident: number }[] = [];
    for (let step = 0; step < steps; step++) {
      const tokens = toyTokens(8 + (step % 5) * 4, step % 7);
      const sequence = { prompt: tokens.slice(0, 3), target: tokens.slice(3), weight: 1 };
      await engine.trainStep([{ ...sequence, anchorWeight: step % 10 === 9 ? 0.1 : 0 }], settings);
      if (step % 5 === 0) {
        const items = Array.from({ length: 1 + (step % 3) }, (_, i) => ({
          prompt: tokens.slice(0, 3 + i),
          seed: i,
        }));
        await engine.generate(items, { maxTokens: 4, temperature: 1 }, {});
        await engine.score([sequence], step % 10 === 0);
      }
      if (step % 25 === 0) {
        const { weights, optimizer } = engine.exportState();
        await engine.importState(weights, optimizer);
        if (step >= warmUp) samples.push(inUse());
      }
    }
    await engine.close();
    const grown = (of: 'javascript' | 'resident'): number => {
      const values = samples.map((sample) => sample[of]);
      const mean = (part: number[]): number => part.reduce((a, b) => a + b, 0) / part.length;
      return mean(values.slice(-5)) - mean(values.slice(0, 5));
    };
    // Some 600 steps lie between: a kilobyte a step in JavaScript (its own compiler's notes are half of it), ten in all.
    assert.ok(grown('javascript') < 600e3, `JavaScript grew by ${grown('javascript')} bytes`);
    assert.ok(grown('resident') < 6e6, `the process grew by ${grown('resident')} bytes`);
  });
}
