import { createTensor } from '@parley/graph';
import type { Graph, Tensor, Value } from '@parley/graph';
import type { ModelConfig } from './config.js';
import { logitsOf } from './decoder-graph.js';
import type { DecoderBuilder } from './decoder-graph.js';
import { sampleRow, sampleWeighted } from './sampling.js';
import type { SampledToken, SamplingSettings } from './sampling.js';

/**
 * Where the next token is drawn. Fetching logits costs a copy, so only narrow vocabularies are drawn from in JavaScript
 * (`logits`); for wide ones the graph takes the largest (`greedy`), inverts the whole distribution (`full`), or hands
 * over the likeliest candidates (`nucleus`).
 */
export type SamplingMode = 'logits' | 'greedy' | 'full' | 'nucleus';

/** Vocabularies up to this size are drawn from in JavaScript. */
export const maxFetchedVocabulary = 4096;
/** A nucleus is cut off at this many candidates in a vocabulary wider than {@link maxFetchedVocabulary}. */
export const maxNucleus = 256;
/** Tokens of one block of the two-level cumulative distribution. */
const blockSize = 64;
/** Keeps float32 products with a uniform number strictly below their other factor. */
const largestUniform = 1 - 2 ** -20;

/** The mode for a vocabulary and settings. */
export function samplingMode(
  { vocabSize }: Pick<ModelConfig, 'vocabSize'>,
  settings: SamplingSettings,
): SamplingMode {
  if (vocabSize <= maxFetchedVocabulary) return 'logits';
  if (settings.temperature === 0) return 'greedy';
  return settings.topP < 1 ? 'nucleus' : 'full';
}

/**
 * Ends a graph with the draw from `hidden [B, width]`. Inputs by mode: `full` takes `uniform` [B, 1]; `full` and `nucleus`
 * take `inverseTemperature` []. Outputs: `logits`; or `token`, `logProb` and `entropy` [B, 1]; or `candidates` int64,
 * `mass` and `logProb` [B, {@link maxNucleus}] with `entropy`.
 */
export function samplingHead(builder: DecoderBuilder, hidden: Value, mode: SamplingMode): void {
  const { g } = builder;
  const logits = logitsOf(builder, hidden);
  if (mode === 'logits') {
    g.output(logits, 'logits');
    return;
  }
  // Softmax and LogSoftmax each pass over the vocabulary many times faster than Exp does.
  const logProbs = g.logSoftmax(logits);
  const entropy = g.reduceSum(g.mul(g.softmax(logits), logProbs), { axes: [1], keepDims: true });
  g.output(g.neg(entropy), 'entropy');
  if (mode === 'greedy') {
    outputToken(g, g.argMax(logits, 1, true), logProbs);
    return;
  }
  const inverseTemperature = g.input('inverseTemperature', []);
  const mass = g.softmax(g.mul(logits, inverseTemperature));
  if (mode === 'full') {
    outputToken(g, invertDistribution(g, mass, g.input('uniform', ['B', 1])), logProbs);
    return;
  }
  const { values, indices } = g.topK(mass, maxNucleus);
  g.output(indices, 'candidates');
  g.output(values, 'mass');
  g.output(g.gatherElements(logProbs, indices, 1), 'logProb');
}

function outputToken(g: Graph, token: Value, logProbs: Value): void {
  g.output(token, 'token');
  g.output(g.gatherElements(logProbs, token, 1), 'logProb');
}

/**
 * The token at which the cumulative distribution passes `uniform` of its total, found first among block sums and then
 * within one block: a flat cumulative sum over a wide vocabulary is slow and loses small probabilities to rounding.
 * @param mass [B, vocabulary], not negative
 * @returns int64 [B, 1]
 */
function invertDistribution(g: Graph, mass: Value, uniform: Value): Value {
  const vocabulary = mass.shape[1] as number;
  const blocks = Math.ceil(vocabulary / blockSize);
  const padding = g.constantOfShape(['B', blocks * blockSize - vocabulary], 0);
  const padded = padding.shape[1] === 0 ? mass : g.concat([mass, padding], 1);
  const blocked = g.reshape(padded, ['B', blocks, blockSize]);
  const sums = g.reduceSum(blocked, { axes: [2] });
  const cumulative = g.cumSum(sums, 1);
  const total = g.slice(cumulative, 1, blocks - 1, blocks);
  const target = g.mul(uniform, total);
  const block = countPassed(g, cumulative, target, blocks);
  const blockSum = g.gatherElements(sums, block, 1);
  const before = g.sub(g.gatherElements(cumulative, block, 1), blockSum);
  const inside = g.cumSum(g.gatherRows(blocked, block), 1);
  const insideTotal = g.slice(inside, 1, blockSize - 1, blockSize);
  const rest = g.min(g.max(g.sub(target, before), g.scalar(0)), g.mul(insideTotal, g.scalar(largestUniform)));
  const offset = countPassed(g, inside, rest, blockSize);
  return g.add(g.mul(block, g.scalar(blockSize, 'int64')), offset);
}

/** How many entries of each ascending row are at most `target`, at most `size − 1`: the index where it is passed. */
function countPassed(g: Graph, ascending: Value, target: Value, size: number): Value {
  const passed = g.cast(g.lessOrEqual(ascending, target), 'int64');
  const count = g.reduceSum(passed, { axes: [1], keepDims: true });
  return g.min(count, g.constant([size - 1], [1, 1], 'int64'));
}

/** What the head of a mode is fed. @param uniforms one number in [0, 1) a row */
export function samplingFeeds(
  mode: SamplingMode,
  settings: SamplingSettings,
  uniforms: readonly number[],
): Record<string, Tensor> {
  if (mode === 'logits' || mode === 'greedy') return {};
  const inverseTemperature = createTensor('float32', [], Float32Array.of(1 / settings.temperature));
  if (mode === 'nucleus') return { inverseTemperature };
  const data = Float32Array.from(uniforms, (u) => Math.min(u, largestUniform));
  return { inverseTemperature, uniform: createTensor('float32', [uniforms.length, 1], data) };
}

/** The outputs of the head of a mode. */
export function samplingOutputs(mode: SamplingMode): string[] {
  if (mode === 'logits') return ['logits'];
  return mode === 'nucleus' ? ['candidates', 'mass', 'logProb', 'entropy'] : ['token', 'logProb', 'entropy'];
}

/** The token drawn for one row of the head's outputs. */
export function readSample(
  mode: SamplingMode,
  outputs: Readonly<Record<string, Tensor>>,
  row: number,
  settings: SamplingSettings,
  uniform: number,
): SampledToken {
  const floats = (name: string): Float32Array => outputs[name].data as Float32Array;
  const integers = (name: string): BigInt64Array => outputs[name].data as BigInt64Array;
  if (mode === 'logits') {
    const size = outputs['logits'].dims[1];
    return sampleRow(floats('logits'), row * size, size, settings, uniform);
  }
  const entropy = floats('entropy')[row];
  if (mode !== 'nucleus') {
    return { token: Number(integers('token')[row]), logProb: floats('logProb')[row], entropy };
  }
  const width = outputs['mass'].dims[1];
  const mass = floats('mass').subarray(row * width, (row + 1) * width);
  const chosen = row * width + sampleWeighted(mass, settings.topP, uniform);
  return { token: Number(integers('candidates')[chosen]), logProb: floats('logProb')[chosen], entropy };
}
