import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createGraph, createSession, createTensor } from '@parley/graph';
import type { Session } from '@parley/graph';
import fc from 'fast-check';
import { createEngine } from './engine.js';
import type { Engine } from './engine.js';
import type { GenerateOptions } from './language-model.js';
import { uniformAt } from './random.js';
import {
  candidateCount,
  maxFetchedVocabulary,
  readSample,
  samplingFeeds,
  samplingHead,
  samplingMode,
} from './sampling-head.js';
import type { SamplingMode } from './sampling-head.js';
import { isFiltered, sampleRow } from './sampling.js';
import type { SampledToken, SamplingRow, SamplingSettings } from './sampling.js';
import {
  chiSquareDeviate,
  exactDistribution,
  randomLogits,
  samplingSettings,
  settingsToTest,
} from './sampling-test-support.js';
import { toyConfig } from './test-models.js';

// Not a multiple of the sampler's block.
const vocabulary = 5003;
assert.ok(vocabulary > maxFetchedVocabulary);

const sessions = new Map<SamplingMode, Promise<Session>>();
after(async () => {
  for (const session of sessions.values()) await (await session).dispose();
});

function openHead(mode: SamplingMode): Promise<Session> {
  const existing = sessions.get(mode);
  if (existing) return existing;
  const graph = createGraph('head');
  samplingHead(graph, graph.input('logits.in', ['B', vocabulary]), mode);
  const session = createSession(graph, { threads: 1, spinning: false });
  sessions.set(mode, session);
  return session;
}

/** A row of a batch: what it draws by, and its logits. */
type DrawnRow = SamplingRow & { readonly logits: Float32Array };

async function drawBatch(rows: readonly DrawnRow[], mode: SamplingMode): Promise<SampledToken[]> {
  const logits = new Float32Array(rows.length * vocabulary);
  rows.forEach((row, i) => logits.set(row.logits, i * vocabulary));
  const feeds = {
    'logits.in': createTensor('float32', [rows.length, vocabulary], logits),
    ...samplingFeeds(mode, rows),
  };
  const outputs = await (await openHead(mode)).run(feeds);
  return rows.map((row, i) => readSample(mode, outputs, i, row));
}

/** In the mode that a batch of such rows would have. */
function drawTogether(rows: readonly DrawnRow[]): Promise<SampledToken[]> {
  const mode = samplingMode(
    { vocabSize: vocabulary },
    rows.map(({ settings }) => settings),
  );
  return drawBatch(rows, mode);
}

const seen = Array.from({ length: 300 }, (_, i) => 16 * i + 3);

async function drawCounts(
  logits: Float32Array,
  settings: SamplingSettings,
  seed: number,
  mode?: SamplingMode,
): Promise<Uint32Array> {
  const counts = new Uint32Array(vocabulary);
  for (let batch = 0; batch < 10; batch++) {
    const rows = Array.from({ length: 250 }, (_, i) => {
      return { logits, settings, seen, uniform: uniformAt(seed, 250 * batch + i) };
    });
    const drawn = mode === undefined ? await drawTogether(rows) : await drawBatch(rows, mode);
    for (const { token } of drawn) counts[token]++;
  }
  return counts;
}

test('a wide vocabulary is drawn from exactly under every filter (chi-square, 4 standard deviations)', async () => {
  const logits = randomLogits(vocabulary, 3, 5);
  for (const [index, settings] of settingsToTest.entries()) {
    const exact = exactDistribution(logits, settings, seen);
    const deviate = chiSquareDeviate(await drawCounts(logits, settings, 40 + index), exact);
    assert.ok(Math.abs(deviate) < 4, `${deviate} with ${JSON.stringify(settings)}`);
  }
});

test('filters that let more tokens pass than there are candidates are exact too', async () => {
  // Flat, but steep enough at its end for single tokens to be counted.
  const logits = randomLogits(vocabulary, 1, 6).map((logit) => (logit > 2.2 ? logit + 2 : logit));
  for (const changes of [
    { topP: 0.9 },
    { topK: 400 },
    { topK: 700, topP: 0.95 },
    { minP: 0.005, repetitionPenalty: 1.3 },
  ]) {
    const settings = samplingSettings(changes);
    const exact = exactDistribution(logits, settings, seen);
    const passing = exact.filter((p) => p > 0).length;
    assert.ok(passing > candidateCount, `${passing} tokens pass ${JSON.stringify(changes)}`);
    const deviate = chiSquareDeviate(await drawCounts(logits, settings, 70), exact);
    assert.ok(Math.abs(deviate) < 4, `${deviate} with ${JSON.stringify(settings)}`);
  }
});

/** A row with everything drawn by lot. */
function arbitraryRow(seed: number): DrawnRow {
  const pick = <T>(step: number, values: readonly T[]): T =>
    values[Math.floor(uniformAt(seed, step, 1) * values.length)];
  const temperature = pick(0, [0, 0, 0.3, 1, 1.8]);
  const filter =
    temperature === 0 ? {} : pick(1, [{}, { topK: 5 }, { topP: 0.9 }, { topP: 0.5 }, { minP: 0.1 }]);
  const settings = samplingSettings({
    temperature,
    ...filter,
    repetitionPenalty: pick(2, [1, 1, 1.3]),
    topLogProbs: pick(3, [0, 0, 4]),
  });
  return {
    settings,
    seen: pick(4, [[], [7], seen]),
    uniform: uniformAt(seed, 0, 2),
    // A penalty moves negative logits the other way.
    logits: randomLogits(vocabulary, pick(5, [1, 3]), seed).map((logit) => logit - pick(6, [0, 20])),
  };
}

test('what a row draws does not depend on its neighbours and their settings, to the last bit', async () => {
  const modes = new Set<SamplingMode>();
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(fc.nat(10000), { minLength: 2, maxLength: 6 }), async (seeds) => {
      const rows = seeds.map(arbitraryRow);
      const together = await drawTogether(rows);
      for (const [i, row] of rows.entries()) {
        modes.add(samplingMode({ vocabSize: vocabulary }, [row.settings]));
        const { entropy, ...alone } = (await drawTogether([row]))[0];
        const { entropy: besideOthers, ...drawn } = together[i];
        assert.deepEqual(alone, drawn, JSON.stringify(row.settings));
        // The sum over the vocabulary rounds by the shape of the batch; nothing is drawn by it.
        assert.ok(Math.abs(entropy - besideOthers) < 1e-5);
      }
    }),
    { numRuns: 60 },
  );
  assert.deepEqual(modes, new Set(['greedy', 'full', 'any']));
});

test('the graph filters and penalises as JavaScript does', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(10000), async (seed) => {
      const row = arbitraryRow(seed);
      const [drawn] = await drawTogether([row]);
      const expected = sampleRow(row.logits, row);
      if (isFiltered(row.settings) || row.settings.temperature === 0)
        assert.equal(drawn.token, expected.token, JSON.stringify(row.settings));
      const p = exactDistribution(row.logits, samplingSettings());
      assert.ok(Math.abs(drawn.logProb - Math.log(p[drawn.token])) < 1e-5);
      assert.ok(Math.abs(drawn.entropy - expected.entropy) < 1e-3);
      assert.deepEqual(
        drawn.top.map(({ token }) => token),
        expected.top.map(({ token }) => token),
      );
      drawn.top.forEach(({ token, logProb }, rank) => {
        assert.ok(Math.abs(logProb - expected.top[rank].logProb) < 1e-5);
        assert.ok(rank === 0 || logProb <= drawn.top[rank - 1].logProb);
        if (token === drawn.token) assert.equal(logProb, drawn.logProb);
      });
    }),
    // Seeded: where a float32 sum over the vocabulary and a float64 one lie on two sides of a nucleus' border, both are right.
    { numRuns: 150, seed: 3 },
  );
});

test('small temperatures draw among close logits as exactly as any', async () => {
  const logits = randomLogits(vocabulary, 3, 9);
  const best = Math.max(...logits);
  const close = [17, 1000, 4999];
  // Multiples of the spacing of float32 at this size.
  close.forEach((token, i) => (logits[token] = best + 30 + i * 2 ** -18));
  const settings = samplingSettings({ temperature: 8e-6 });
  const exact = exactDistribution(logits, settings);
  assert.ok(close.every((token) => exact[token] > 0.1));
  const deviate = chiSquareDeviate(await drawCounts(logits, settings, 90), exact);
  assert.ok(Math.abs(deviate) < 4, `${deviate}`);
});

function openWide(): Promise<Engine> {
  const config = toyConfig('gemma2', { vocab_size: vocabulary, final_logit_softcapping: 12 });
  return createEngine({ kind: 'memory', config, seed: 4, weights: new Map() }, {}, () => undefined);
}

const prompt = [5, 17, 4000];
const manySettings: readonly Omit<GenerateOptions, 'maxTokens'>[] = [
  { temperature: 0 },
  { temperature: 0, repetitionPenalty: 1.5, topLogProbs: 3 },
  { temperature: 0.7 },
  { temperature: 1, topP: 0.5 },
  { temperature: 1, topK: 50, minP: 0.01, repetitionPenalty: 1.1, topLogProbs: 20 },
];

test('log-probabilities and entropy of a wide vocabulary agree with scoring, whatever the settings', async () => {
  const engine = await openWide();
  const items = Array.from({ length: vocabulary }, (_, token) => ({ prompt, target: [token] }));
  const p = (await engine.score(items, false)).map(({ logProb }) => Math.exp(logProb));
  const entropy = p.reduce((sum, q) => sum - q * Math.log(q), 0);
  const ranked = [...p.keys()].sort((a, b) => p[b] - p[a]);
  for (const settings of manySettings) {
    const options = { ...settings, stopTokens: [] };
    const [first] = await engine.generate([{ prompt, seed: 3 }], { ...options, maxTokens: 1 }, {});
    assert.ok(Math.abs(first.meanEntropy - entropy) < 1e-3);
    const [longer] = await engine.generate([{ prompt, seed: 3 }], { ...options, maxTokens: 9 }, {});
    assert.equal(longer.tokens[0], first.tokens[0]);
    const [score] = await engine.score([{ prompt, target: longer.tokens }], false);
    longer.logProbs.forEach((value, i) => assert.ok(Math.abs(value - score.tokenLogProbs[i]) < 1e-4));
    const { topLogProbs = 0 } = settings;
    if (topLogProbs === 0) {
      assert.equal(longer.topLogProbs, undefined);
    } else {
      assert.equal(longer.topLogProbs?.length, 9);
      const [top] = longer.topLogProbs;
      assert.deepEqual(
        top.map(({ token }) => token),
        ranked.slice(0, topLogProbs),
      );
      top.forEach(({ token, logProb }) => assert.ok(Math.abs(logProb - Math.log(p[token])) < 1e-4));
    }
  }
  await engine.close();
});

test('the same seed gives the same tokens whatever is in the batch', async () => {
  const narrow = await createEngine(
    { kind: 'memory', config: toyConfig('llama'), seed: 2, weights: new Map() },
    {},
    () => undefined,
  );
  const wide = await openWide();
  const item = { prompt: [5, 17, 40], seed: 12 };
  const neighbours = Array.from({ length: 5 }, (_, i) => ({
    prompt: [60 - i, ...item.prompt.slice(i % 3)],
    seed: i,
  }));
  for (const engine of [narrow, wide]) {
    for (const settings of manySettings) {
      const options = { ...settings, maxTokens: 12, stopTokens: [] };
      const [alone] = await engine.generate([item], options, {});
      const batch = await engine.generate([...neighbours, item], options, {});
      assert.deepEqual(batch.at(-1)!.tokens, alone.tokens, JSON.stringify(settings));
    }
    await engine.close();
  }
});

test('a repetition penalty holds for the prompt and for what has been generated', async () => {
  const engine = await openWide();
  const options = { maxTokens: 12, temperature: 0, stopTokens: [], topLogProbs: 20 };
  const [free] = await engine.generate([{ prompt, seed: 1 }], options, {});
  const [penalised] = await engine.generate(
    [{ prompt, seed: 1 }],
    { ...options, repetitionPenalty: 100 },
    {},
  );
  assert.ok(new Set(free.tokens).size < free.tokens.length, 'the model repeats itself');
  // At this penalty a token with a positive logit is as good as forbidden once seen.
  assert.equal(new Set([...prompt, ...penalised.tokens]).size, prompt.length + penalised.tokens.length);
  penalised.tokens.forEach((token, position) => {
    const before = new Set([...prompt, ...penalised.tokens.slice(0, position)]);
    assert.equal(penalised.topLogProbs![position].find((entry) => !before.has(entry.token))?.token, token);
  });
  await engine.close();
});
