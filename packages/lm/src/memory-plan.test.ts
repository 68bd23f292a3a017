import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createEngine } from './engine.js';
import { LmError } from './lm-error.js';
import { defaultPassTokens, inferenceBytes, memoryLimit, memoryNeeds, planTraining } from './memory-plan.js';
import type { TrainingMemory } from './memory-plan.js';
import { toyConfig } from './test-models.js';

const shared = {
  vocab_size: 151_936,
  head_dim: null,
  max_position_embeddings: 32_768,
  tie_word_embeddings: true,
};
const half = toyConfig('qwen2', {
  ...shared,
  hidden_size: 896,
  intermediate_size: 4864,
  num_hidden_layers: 24,
  num_attention_heads: 14,
  head_dim: 64,
});
const oneAndAHalf = toyConfig('qwen2', {
  ...shared,
  hidden_size: 1536,
  intermediate_size: 8960,
  num_hidden_layers: 28,
  num_attention_heads: 12,
  head_dim: 128,
});

function memory(config: TrainingMemory['config'], memoryBytes: number, quantized = false): TrainingMemory {
  return { config, adapterParameters: 8.8e6, quantized, inferenceBytes: 0, memoryBytes };
}
const auto = { maxTokens: 1024, recompute: 'auto', sequenceTokens: null } as const;
const gigabytes = (of: TrainingMemory, keep: 'all' | 'products' | 'input', tokens: number): number =>
  Object.values(memoryNeeds(of, keep, tokens)).reduce((a, b) => a + b, 0) / 1e9;

test('the arithmetic of a LoRA step comes near what was measured', () => {
  // Resident after three steps of 2 × 256 tokens at the 0.5B shape, r = 16: 3.33 GB, and 2.75 GB with recomputation.
  assert.ok(Math.abs(gigabytes(memory(half, 0), 'products', 512) - 3.33) < 0.25);
  assert.ok(Math.abs(gigabytes(memory(half, 0), 'input', 512) - 2.75) < 0.25);
  assert.ok(gigabytes(memory(oneAndAHalf, 0), 'products', 256) < 12);
  // With answers before and after the steps: 5.00 GB.
  const batches = { quantized: true, maxBatch: 32, maxBatchTokens: 256 };
  const answering = {
    ...memory(oneAndAHalf, 0, true),
    adapterParameters: 18.5e6,
    inferenceBytes: inferenceBytes(oneAndAHalf, batches),
  };
  assert.ok(
    Math.abs(gigabytes(answering, 'input', 256) - 5) < 0.25,
    String(gigabytes(answering, 'input', 256)),
  );
});

test('passes shrink first, then layers are computed again, then training is refused with the arithmetic', () => {
  const plan = (bytes: number) => planTraining(memory(half, bytes), auto);
  assert.deepEqual(plan(64e9), { keep: 'products', passTokens: 1024, alone: false });
  const enough = (keep: 'products' | 'input', tokens: number): number =>
    Math.ceil(gigabytes(memory(half, 0), keep, tokens) * 1e9);
  for (const passTokens of [512, 256]) {
    assert.deepEqual(plan(enough('products', passTokens)), { keep: 'products', passTokens, alone: true });
  }
  assert.equal(plan(enough('products', 256) - 1).keep, 'input');
  assert.deepEqual(plan(enough('input', 256)), { keep: 'input', passTokens: 256, alone: true });
  assert.throws(
    () => plan(2e9),
    (error) =>
      error instanceof LmError &&
      error.reason === 'MEMORY_EXCEEDED' &&
      /needs [\d.]+ GB and may take 2\.00 GB: weights 1\.98 GB \+ .*moments.*activations of 256 tokens.*logits of 128 tokens.*8-bit/.test(
        error.message,
      ),
  );
  // The numbers of the message add up to the sum it names.
  const text = (() => {
    try {
      plan(2e9);
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  })();
  const [sum, , ...terms] = [...text.matchAll(/([\d.]+) GB/g)].map(([, value]) => Number(value));
  assert.ok(Math.abs(terms.reduce((a, b) => a + b, 0) - sum) < 0.04, text);
});

test('recompute: true and false are obeyed', () => {
  assert.equal(planTraining(memory(half, 64e9), { ...auto, recompute: true }).keep, 'input');
  assert.throws(() => planTraining(memory(half, 2.8e9), { ...auto, recompute: false }), /recompute: auto/);
});

test('a small model keeps everything', () => {
  const config = toyConfig('llama');
  const passTokens = defaultPassTokens(config);
  const plan = planTraining(
    { ...memory(config, memoryLimit()), adapterParameters: 0 },
    { maxTokens: Math.min(passTokens, 1024), recompute: 'auto', sequenceTokens: 20 },
  );
  assert.deepEqual(plan, { keep: 'all', passTokens: 1024, alone: false });
});

test('a plan fits, holds the longest sequence, and is refused only if its smallest form does not fit', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1e9, max: 8e9 }),
      fc.integer({ min: 1, max: 4096 }),
      fc.integer({ min: 1, max: 4096 }),
      (bytes, maxTokens, sequenceTokens) => {
        const of = memory(half, bytes);
        const least = gigabytes(of, 'input', sequenceTokens) * 1e9;
        try {
          const { keep, passTokens } = planTraining(of, { maxTokens, recompute: 'auto', sequenceTokens });
          const needed = gigabytes(of, keep, Math.max(passTokens, sequenceTokens)) * 1e9;
          assert.ok(needed <= bytes, `${keep} ${passTokens}: ${needed} of ${bytes}`);
        } catch (error) {
          if (!(error instanceof LmError)) throw error;
          assert.ok(least > bytes, `refused, although ${least} fit into ${bytes}`);
        }
      },
    ),
    { numRuns: 300 },
  );
});

test('an engine that cannot train within its memory does not start; one that never trains does', async () => {
  const source = { kind: 'memory', config: toyConfig('llama'), seed: 1, weights: new Map() } as const;
  const refused = (error: unknown): boolean => error instanceof LmError && error.reason === 'MEMORY_EXCEEDED';
  const lora = { kind: 'lora', rank: 2, alpha: 4, seed: 3 } as const;
  await assert.rejects(
    createEngine(source, { trainable: lora, memoryBytes: 1e6 }, () => undefined),
    refused,
  );
  const engine = await createEngine(source, { memoryBytes: 1e6 }, () => undefined);
  await engine.generate([{ prompt: [1], seed: 1 }], { maxTokens: 2, temperature: 1 }, {});
  const settings = { learningRate: 1, beta1: 0.9, beta2: 0.9, epsilon: 1, weightDecay: 0, maxGradNorm: 1 };
  await assert.rejects(engine.trainStep([{ prompt: [1], target: [2], weight: 1 }], settings), refused);
  assert.equal(engine.info().step, 0);
  await engine.close();
});
