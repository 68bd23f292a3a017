import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { fixturesFolder } from './io-test-support.js';
import { uniformAt } from './random.js';
import { drawFiltered, isFiltered, penalise, sampleRow } from './sampling.js';
import type { SampledToken, SamplingSettings } from './sampling.js';
import {
  chiSquareDeviate,
  exactDistribution,
  randomLogits,
  samplingSettings,
  settingsToTest,
} from './sampling-test-support.js';
import { rankLogits } from './token-ranking.js';

const row = fc.array(fc.oneof(fc.float({ min: -20, max: 20, noNaN: true }), fc.constantFrom(-1, 0, 2)), {
  minLength: 1,
  maxLength: 30,
});
const unit = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const seen = fc.uniqueArray(fc.nat(29), { maxLength: 10 });
const settings = fc.record<SamplingSettings>({
  temperature: fc.constantFrom(0.05, 0.5, 1, 2.5),
  topK: fc.nat(12),
  topP: fc.oneof(fc.constant(1), fc.double({ min: 0.01, max: 0.999, noNaN: true })),
  minP: fc.oneof(fc.constantFrom(0, 1), fc.double({ min: 0, max: 1, noNaN: true })),
  repetitionPenalty: fc.constantFrom(1, 0.8, 1.3),
  topLogProbs: fc.nat(8),
});

function sample(
  logits: Float32Array,
  options: Partial<SamplingSettings>,
  uniform: number,
  tokens: readonly number[] = [],
): SampledToken {
  const within = tokens.filter((token) => token < logits.length);
  return sampleRow(logits, { settings: samplingSettings(options), uniform, seen: within });
}

test('greedy takes the largest penalised logit, the lowest id among equals', () => {
  const logits = Float32Array.of(1, 3, 3, 2);
  assert.equal(sample(logits, { temperature: 0 }, 0.99).token, 1);
  assert.equal(sample(logits, { temperature: 0, repetitionPenalty: 1.2 }, 0.99, [1]).token, 2);
  assert.equal(sample(logits, { temperature: 0, repetitionPenalty: 1.5 }, 0.99, [1, 2]).token, 1);
  assert.equal(sample(logits, { temperature: 0, repetitionPenalty: 1.6 }, 0.99, [1, 2]).token, 3);
});

test('log-probabilities and entropy are those at temperature 1 without penalty, whatever the settings', () => {
  fc.assert(
    fc.property(row, unit, settings, seen, (values, uniform, options, tokens) => {
      const logits = Float32Array.from(values);
      const sampled = sample(logits, options, uniform, tokens);
      const p = exactDistribution(logits, samplingSettings());
      assert.ok(Math.abs(sampled.logProb - Math.log(p[sampled.token])) < 1e-5);
      const entropy = p.reduce((sum, q) => sum - (q > 0 ? q * Math.log(q) : 0), 0);
      assert.ok(Math.abs(sampled.entropy - entropy) < 1e-6);
    }),
  );
});

test('a chosen token passes every filter, and every token that passes can be chosen', () => {
  fc.assert(
    fc.property(row, unit, settings, seen, (values, uniform, options, tokens) => {
      const logits = Float32Array.from(values);
      const within = tokens.filter((token) => token < logits.length);
      const p = exactDistribution(logits, options, within);
      assert.ok(p[sample(logits, options, uniform, within).token] > 0);
      for (const [token, middle] of middles(p, logits, options, within)) {
        if (p[token] > 1e-9) assert.equal(sample(logits, options, middle, within).token, token);
      }
    }),
  );
});

test('a uniform number at either end draws a token that passes', () => {
  fc.assert(
    fc.property(row, settings, seen, (values, options, tokens) => {
      const logits = Float32Array.from(values);
      const p = exactDistribution(
        logits,
        options,
        tokens.filter((token) => token < logits.length),
      );
      for (const uniform of [0, 1 - 2 ** -53])
        assert.ok(p[sample(logits, options, uniform, tokens).token] > 0);
    }),
  );
});

/** Of every token with a probability the middle of the uniform numbers that draw it. */
function middles(
  p: Float64Array,
  logits: Float32Array,
  options: SamplingSettings,
  tokens: readonly number[],
): [token: number, middle: number][] {
  const scores = penalise(logits, options.repetitionPenalty, tokens);
  const ids = [...p.keys()].filter((token) => p[token] > 0);
  if (isFiltered(options)) ids.sort((a, b) => scores[b] - scores[a] || a - b);
  let below = 0;
  return ids.map((token) => {
    const middle = below + p[token] / 2;
    below += p[token];
    return [token, middle];
  });
}

test('transformers gives every token the same share of the uniform numbers', () => {
  interface Case {
    settings: Omit<SamplingSettings, 'topLogProbs'>;
    seen: number[];
    logits: number[];
    probabilities: Record<string, number>;
  }
  const cases = JSON.parse(readFileSync(join(fixturesFolder, 'golden/sampling.json'), 'utf8')) as Case[];
  assert.ok(cases.length >= 72);
  for (const { settings: given, seen: repeated, logits: values, probabilities } of cases) {
    const logits = Float32Array.from(values);
    const options = samplingSettings(given);
    const tokens = [...new Set(repeated)];
    const p = new Float64Array(logits.length);
    for (const [token, probability] of Object.entries(probabilities)) p[Number(token)] = probability;
    const exact = exactDistribution(logits, options, tokens);
    exact.forEach((probability, token) => {
      assert.equal(probability > 0, p[token] > 0, JSON.stringify(given));
      assert.ok(Math.abs(probability - p[token]) < 1e-6);
    });
    for (const [token, middle] of middles(p, logits, options, tokens)) {
      for (const uniform of [middle - 0.49 * p[token], middle, middle + 0.49 * p[token]]) {
        if (p[token] > 1e-4) assert.equal(sample(logits, options, uniform, tokens).token, token);
      }
    }
  }
});

test('samples follow the exact distribution under every filter (chi-square, 4 standard deviations)', () => {
  const logits = randomLogits(60, 2, 3);
  const tokens = [...logits.keys()].filter((token) => token % 3 === 0);
  settingsToTest.forEach((options, index) => {
    const counts = new Uint32Array(logits.length);
    for (let i = 0; i < 20000; i++) counts[sample(logits, options, uniformAt(11 + index, i), tokens).token]++;
    const deviate = chiSquareDeviate(counts, exactDistribution(logits, options, tokens));
    assert.ok(Math.abs(deviate) < 4, `${deviate} with ${JSON.stringify(options)}`);
  });
});

test('the likeliest tokens fall in log-probability, and the chosen one is among them or less likely', () => {
  fc.assert(
    fc.property(row, unit, settings, seen, (values, uniform, options, tokens) => {
      const logits = Float32Array.from(values);
      const { token, logProb, top } = sample(logits, options, uniform, tokens);
      assert.equal(top.length, Math.min(options.topLogProbs, logits.length));
      const ranking = rankLogits(logits);
      top.forEach((entry, rank) => {
        assert.equal(entry.token, ranking.token(rank));
        assert.ok(rank === 0 || entry.logProb <= top[rank - 1].logProb);
      });
      const found = top.find((entry) => entry.token === token);
      if (found) assert.equal(found.logProb, logProb);
      else assert.ok(top.every((entry) => entry.logProb >= logProb));
    }),
  );
});

test('a list of candidates draws what the whole vocabulary would, or says that it is too short', () => {
  let short = 0;
  fc.assert(
    fc.property(row, unit, settings, fc.integer({ min: 1, max: 12 }), (values, uniform, options, count) => {
      fc.pre(isFiltered(options));
      const logits = Float32Array.from(values);
      const mass = logits.reduce(
        (sum, logit) => sum + Math.exp((logit - Math.max(...logits)) / options.temperature),
        0,
      );
      const whole = rankLogits(logits);
      const drawn = drawFiltered(whole, logits.length, options, mass, uniform);
      assert.notEqual(drawn, null);
      const candidates = { ...whole, length: Math.min(count, logits.length) };
      const fromCandidates = drawFiltered(candidates, logits.length, options, mass, uniform);
      if (fromCandidates !== null) assert.equal(fromCandidates, drawn);
      else short++;
      const passing = exactDistribution(logits, options).filter((p) => p > 0).length;
      // With top-p after top-k, the probability of all k has to be known.
      const needed =
        options.topP < 1 && options.topK > 0
          ? Math.max(passing, Math.min(options.topK, logits.length))
          : passing;
      if (candidates.length > needed) assert.equal(fromCandidates, drawn);
    }),
    { numRuns: 500 },
  );
  assert.ok(short > 20, `${short} lists were too short`);
});
