import { createTensor } from '@parley/graph';
import type { Graph, Tensor, Value } from '@parley/graph';
import type { ModelConfig } from './config.js';
import { drawFiltered, isFiltered, likeliestTokens, penalise, sampleRow } from './sampling.js';
import type { SampledToken, SamplingRow, SamplingSettings } from './sampling.js';
import { rankLogits } from './token-ranking.js';
import type { TokenRanking } from './token-ranking.js';

/**
 * What a graph does about the next token, for all rows of a batch alike:
 * - `logits`: nothing but hand over the logits, of narrow vocabularies;
 * - `greedy`: takes the largest;
 * - `full`: also inverts the whole distribution, for rows at a temperature and without filters;
 * - `any`: also penalises repetition and hands over the likeliest candidates and the logits, for every other setting.
 *
 * A mode does all that the modes before it do, in the same way: what a row draws does not depend on which mode its
 * neighbours need.
 */
export type SamplingMode = 'logits' | 'greedy' | 'full' | 'any';

/** Vocabularies up to this size are drawn from in JavaScript; Exp over wider ones is much faster in the graph. */
export const maxFetchedVocabulary = 4096;
/** Candidates handed over by `any`. Where filters let more tokens pass, the row's logits are ranked in JavaScript. */
export const candidateCount = 256;
/** Tokens of one block of the two-level cumulative distribution. */
const blockSize = 64;
/** Keeps float32 products with a uniform number strictly below their other factor. */
const largestUniform = 1 - 2 ** -20;

/** The least mode that serves rows of these settings; modes are few, since each is a graph to compile. */
export function samplingMode(
  { vocabSize }: Pick<ModelConfig, 'vocabSize'>,
  settings: readonly SamplingSettings[],
): SamplingMode {
  if (vocabSize <= maxFetchedVocabulary) return 'logits';
  const beyondFull = (row: SamplingSettings): boolean =>
    isFiltered(row) || row.repetitionPenalty !== 1 || row.topLogProbs > 0;
  if (settings.some(beyondFull)) return 'any';
  return settings.some(({ temperature }) => temperature > 0) ? 'full' : 'greedy';
}

/**
 * Ends a graph with the draw from `logits` [B, vocabulary]. Inputs are those of {@link samplingFeeds}. Outputs are `logits`
 * [B, vocabulary]; or `token` int64, `logProb` and `entropy` [B, 1]. `any` adds `candidates` int64 and `candidateScores` (penalised
 * logits) [B, {@link candidateCount}], `largestMass`, `largestLogit` and `largestLogProb` [B, 1], and `logits`.
 */
export function samplingHead(g: Graph, logits: Value, mode: SamplingMode): void {
  if (mode === 'logits' || mode === 'any') g.output(logits, 'logits');
  if (mode === 'logits') return;
  // Softmax and LogSoftmax each pass over the vocabulary many times faster than Exp does.
  const logProbs = g.logSoftmax(logits);
  const entropy = g.reduceSum(g.mul(g.softmax(logits), logProbs), { axes: [1], keepDims: true });
  g.output(g.neg(entropy), 'entropy');
  const scores = mode === 'any' ? penalised(g, logits) : logits;
  let token = g.argMax(scores, 1, true);
  if (mode !== 'greedy') {
    // At small temperatures the largest has to be taken off before scaling, or float32 would lose the differences.
    const shifted = g.sub(scores, g.reduceMax(scores, { axes: [1], keepDims: true }));
    const mass = g.softmax(g.mul(shifted, g.input('inverseTemperature', ['B', 1])));
    if (mode === 'any') g.output(g.reduceMax(mass, { axes: [1], keepDims: true }), 'largestMass');
    const uniform = g.input('uniform', ['B', 1]);
    token = g.where(g.less(uniform, g.scalar(0)), token, invertDistribution(g, mass, uniform));
  }
  g.output(token, 'token');
  g.output(g.gatherElements(logProbs, token, 1), 'logProb');
  if (mode !== 'any') return;
  const { values, indices } = g.topK(scores, candidateCount);
  g.output(indices, 'candidates');
  g.output(values, 'candidateScores');
  g.output(g.reduceMax(logits, { axes: [1], keepDims: true }), 'largestLogit');
  g.output(g.reduceMax(logProbs, { axes: [1], keepDims: true }), 'largestLogProb');
}

/**
 * Logits after each row's repetition penalty. `seen` [B, P] may name a token twice: all its updates are equal, so that
 * their order does not matter.
 */
function penalised(g: Graph, logits: Value): Value {
  const seen = g.input('seen', ['B', 'P'], 'int32');
  const penalty = g.input('penalty', ['B', 1]);
  const found = g.gatherElements(logits, seen, 1);
  const negative = g.less(found, g.scalar(0));
  return g.scatterElements(logits, seen, g.where(negative, g.mul(found, penalty), g.div(found, penalty)), 1);
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

/**
 * What the head of a mode is fed, row by row of the batch:
 * `full` takes `inverseTemperature` and `uniform` [B, 1] (−1 where a row is greedy); `any` also `penalty` [B, 1] and `seen`
 * int32 [B, P], where P is the longest list and shorter ones are filled up by repetition.
 */
export function samplingFeeds(mode: SamplingMode, rows: readonly SamplingRow[]): Record<string, Tensor> {
  if (mode === 'logits' || mode === 'greedy') return {};
  const column = (valueOf: (row: SamplingRow) => number): Tensor =>
    createTensor('float32', [rows.length, 1], Float32Array.from(rows, valueOf));
  const feeds = {
    inverseTemperature: column(({ settings: { temperature } }) => (temperature === 0 ? 1 : 1 / temperature)),
    uniform: column(({ settings, uniform }) =>
      settings.temperature === 0 ? -1 : Math.min(uniform, largestUniform),
    ),
  };
  if (mode === 'full') return feeds;
  const lists = rows.map(({ settings, seen }) =>
    settings.repetitionPenalty === 1 || seen.length === 0 ? [0] : seen,
  );
  const width = Math.max(...lists.map((list) => list.length));
  const seen = new Int32Array(rows.length * width);
  lists.forEach((list, row) => {
    seen.set(list, row * width);
    seen.fill(list[0], row * width + list.length, (row + 1) * width);
  });
  // A row without anything to penalise names token 0, and must leave it as it is.
  const penalty = column(({ settings, seen }) => (seen.length === 0 ? 1 : settings.repetitionPenalty));
  return { ...feeds, penalty, seen: createTensor('int32', [rows.length, width], seen) };
}

/**
 * The token drawn for one row.
 * @param outputs of the head of a mode, fed with `row` as its row `index`
 */
export function readSample(
  mode: SamplingMode,
  outputs: Readonly<Record<string, Tensor>>,
  index: number,
  row: SamplingRow,
): SampledToken {
  const floats = (name: string): Float32Array =>
    rowOf(outputs[name].data as Float32Array, outputs[name], index);
  if (mode === 'logits') return sampleRow(floats('logits'), row);
  const integers = (name: string): BigInt64Array =>
    rowOf(outputs[name].data as BigInt64Array, outputs[name], index);
  const entropy = floats('entropy')[0];
  const { settings } = row;
  if (!isFiltered(settings) && settings.topLogProbs === 0) {
    return { token: Number(integers('token')[0]), logProb: floats('logProb')[0], entropy, top: [] };
  }
  const logits = floats('logits');
  const [largestLogit] = floats('largestLogit');
  const [largestLogProb] = floats('largestLogProb');
  // Rounds as LogSoftmax does.
  const logProbOf = (token: number): number =>
    Math.fround(Math.fround(logits[token] - largestLogit) + largestLogProb);
  const top = likeliestTokens(logits, settings.topLogProbs, logProbOf);
  if (!isFiltered(settings)) {
    const token = Number(integers('token')[0]);
    return { token, logProb: logProbOf(token), entropy, top };
  }
  const candidates = candidateRanking(integers('candidates'), floats('candidateScores'));
  const draw = (ranking: TokenRanking): number | null =>
    drawFiltered(ranking, logits.length, settings, 1 / floats('largestMass')[0], row.uniform);
  const token = draw(candidates) ?? draw(rankLogits(penalise(logits, settings.repetitionPenalty, row.seen)))!;
  return { token, logProb: logProbOf(token), entropy, top };
}

/** Row `index` of a tensor of two dimensions. */
function rowOf<Data extends Float32Array | BigInt64Array>(data: Data, { dims }: Tensor, index: number): Data {
  return data.subarray(index * dims[1], (index + 1) * dims[1]) as Data;
}

function candidateRanking(tokens: BigInt64Array, scores: Float32Array): TokenRanking {
  return { length: tokens.length, token: (rank) => Number(tokens[rank]), logit: (rank) => scores[rank] };
}
