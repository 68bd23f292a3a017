import type { TrainingItem } from '@parley/evaluation';
import type { LanguageModel, OptimizerSettings, TrainSequence } from '@parley/lm';

/** Token ids of text whose tokens are what lies between spaces. */
export type EncodeWords = (text: string) => number[];

/** An encoder over a vocabulary; throws a RangeError that names a word it does not hold. */
export function createWordEncoder(vocabulary: readonly string[]): EncodeWords {
  const ids = new Map(vocabulary.map((word, id) => [word, id]));
  return (text) =>
    // An empty answer leaves two spaces in a row.
    text.match(/[^ ]+/g)?.map((word) => {
      const id = ids.get(word);
      if (id === undefined) throw new RangeError(`"${word}" in "${text}" is not in the demo vocabulary.`);
      return id;
    }) ?? [];
}

/**
 * Sequences of one optimiser step whose loss is Σ w·CE / Σ w over all target tokens of the batch. The engine takes the
 * mean over sequences of their weighted token means, so each sequence gets its share of the batch's token weight.
 */
export function toSequences(items: readonly TrainingItem[], encode: EncodeWords): TrainSequence[] {
  const sums = items.map((item) => item.tokenWeights.reduce((a, b) => a + b, 0));
  const total = sums.reduce((a, b) => a + b, 0);
  return items.map((item, i) => ({
    prompt: encode(item.prompt),
    target: encode(item.completion),
    weight: (items.length * sums[i]) / total,
    tokenWeights: Float32Array.from(item.tokenWeights),
  }));
}

/** Cuts items into batches of similar length, in an order that `shuffle` decides. */
export function lengthBatches(
  items: readonly TrainingItem[],
  batchSize: number,
  shuffle: <T>(values: readonly T[]) => T[],
): TrainingItem[][] {
  const words = ({ prompt, completion }: TrainingItem) =>
    prompt.split(' ').length + completion.split(' ').length;
  const sorted = items
    .map((item) => ({ item, length: words(item) }))
    .sort((a, b) => a.length - b.length)
    .map(({ item }) => item);
  const batches: TrainingItem[][] = [];
  for (let i = 0; i < sorted.length; i += batchSize) batches.push(sorted.slice(i, i + batchSize));
  return shuffle(batches);
}

/** AdamW of a pretraining phase, at one learning rate. */
export interface PhaseOptimizer {
  readonly weightDecay: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly maxGradNorm: number;
}

/** One optimiser step; returns its loss in nats per token. */
export async function trainItems(
  model: LanguageModel,
  items: readonly TrainingItem[],
  encode: EncodeWords,
  phase: PhaseOptimizer,
  learningRate: number,
): Promise<number> {
  const { weightDecay, beta1, beta2, maxGradNorm } = phase;
  const settings: OptimizerSettings = {
    learningRate,
    weightDecay,
    beta1,
    beta2,
    maxGradNorm,
    epsilon: 1e-8,
  };
  const { loss } = await model.trainStep(toSequences(items, encode), settings);
  return loss;
}
