import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Engine } from './engine.js';
import type { Device } from './language-model.js';
import { maxFetchedVocabulary, maxNucleus } from './sampling-head.js';
import { isEmulated, openTestEngine, testDevice } from './device-test-support.js';
import { toyConfig } from './test-models.js';

// Not a multiple of the sampler's block.
const vocabulary = 5003;
const prompt = [5, 17, 4000];
const draws = 3000;
/** Under emulation webgpu-suite.ts compares fewer draws with the CPU's instead. */
const skip = isEmulated && 'too many draws to emulate';

function openWide(device: Device = testDevice): Promise<Engine> {
  assert.ok(vocabulary > maxFetchedVocabulary);
  const config = toyConfig('gemma2', { vocab_size: vocabulary, final_logit_softcapping: 12 });
  return openTestEngine({ kind: 'memory', config, seed: 4, weights: new Map() }, { maxBatch: 500, device });
}

/** The model's own probability of every token after the prompt, by scoring on the CPU. */
async function distribution(): Promise<number[]> {
  const engine = await openWide('cpu');
  const items = Array.from({ length: vocabulary }, (_, token) => ({ prompt, target: [token] }));
  const scores = await engine.score(items, false);
  await engine.close();
  return scores.map(({ logProb }) => Math.exp(logProb));
}

async function drawCounts(engine: Engine, temperature: number, topP: number): Promise<number[]> {
  const items = Array.from({ length: draws }, (_, seed) => ({ prompt, seed }));
  const completions = await engine.generate(items, { maxTokens: 1, temperature, topP, stopTokens: [] }, {});
  const counts = new Array<number>(vocabulary).fill(0);
  for (const { tokens } of completions) counts[tokens[0]]++;
  return counts;
}

/** Chi-square over tokens with at least five expected draws, the others pooled, per degree of freedom. */
function chiSquarePerCell(counts: number[], probabilities: number[]): number {
  let [sum, cells, pooledCount, pooledExpected] = [0, 0, 0, 0];
  probabilities.forEach((p, token) => {
    if (p * draws < 5) {
      pooledCount += counts[token];
      pooledExpected += p * draws;
      return;
    }
    sum += (counts[token] - p * draws) ** 2 / (p * draws);
    cells++;
  });
  if (pooledExpected > 5) sum += (pooledCount - pooledExpected) ** 2 / pooledExpected;
  assert.ok(cells > 20, `${cells} likely tokens`);
  return sum / cells;
}

test('a wide vocabulary is drawn from in the graph, and exactly so', { skip }, async () => {
  const engine = await openWide();
  const p = await distribution();
  const ratio = chiSquarePerCell(await drawCounts(engine, 1, 1), p);
  assert.ok(ratio < 2.2, `${ratio}`);
  const sharp = p.map((q) => q ** (1 / 0.6));
  const mass = sharp.reduce((a, b) => a + b, 0);
  const sharpened = sharp.map((q) => q / mass);
  const sharpRatio = chiSquarePerCell(await drawCounts(engine, 0.6, 1), sharpened);
  assert.ok(sharpRatio < 2.2, `${sharpRatio}`);
  await engine.close();
});

test('the nucleus of a wide vocabulary holds the likeliest tokens that reach topP', { skip }, async () => {
  const engine = await openWide();
  const p = await distribution();
  const order = [...p.keys()].sort((a, b) => p[b] - p[a]);
  const nucleus: number[] = [];
  for (let kept = 0; kept < 0.3 && nucleus.length < maxNucleus; kept += p[nucleus.at(-1)!])
    nucleus.push(order[nucleus.length]);
  const kept = nucleus.reduce((sum, token) => sum + p[token], 0);
  const inside = p.map((q, token) => (nucleus.includes(token) ? q / kept : 0));
  const counts = await drawCounts(engine, 1, 0.3);
  assert.equal(
    nucleus.reduce((sum, token) => sum + counts[token], 0),
    draws,
  );
  assert.ok(chiSquarePerCell(counts, inside) < 2.2);
  await engine.close();
});

test('greedy, log-probabilities and entropy of a wide vocabulary agree with scoring', async () => {
  const engine = await openWide();
  const p = await distribution();
  const entropy = p.reduce((sum, q) => sum - q * Math.log(q), 0);
  for (const options of [{ temperature: 0 }, { temperature: 0.7 }, { temperature: 1, topP: 0.5 }]) {
    const [first] = await engine.generate(
      [{ prompt, seed: 3 }],
      { ...options, maxTokens: 1, stopTokens: [] },
      {},
    );
    if (options.temperature === 0) assert.equal(first.tokens[0], p.indexOf(Math.max(...p)));
    assert.ok(Math.abs(first.logProbs[0] - Math.log(p[first.tokens[0]])) < 1e-4);
    assert.ok(Math.abs(first.meanEntropy - entropy) < 1e-3);
    const [longer] = await engine.generate(
      [{ prompt, seed: 3 }],
      { ...options, maxTokens: 9, stopTokens: [] },
      {},
    );
    const [score] = await engine.score([{ prompt, target: longer.tokens }], false);
    longer.logProbs.forEach((value, i) => assert.ok(Math.abs(value - score.tokenLogProbs[i]) < 1e-4));
  }
  await engine.close();
});
