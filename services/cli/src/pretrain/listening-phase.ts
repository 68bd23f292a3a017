import { createRandom, seedFrom, type Random } from '@parley/pst';
import {
  LISTENING,
  listeningBlock,
  listeningQuestions,
  listeningTemperature,
  renderPrompt,
  SPECIAL_TOKENS,
  syntheticAnswer,
  unmarked,
  type Coverage,
  type HeardQuestion,
  type ListeningPart,
  type Problem,
  type Task,
  type TrainingItem,
  type Turn,
} from '@parley/evaluation';
import type { LanguageModel } from '@parley/lm';
import { lengthBatches, trainItems, type EncodeWords } from './train-items.js';

/** Batches that are cut by length together. */
const POOL_BATCHES = 8;

/** Learning rate at a 0-based step: linear warm-up within a linear fall. */
export function listeningRate(step: number, steps: number): number {
  const { learningRate, warmupSteps, finalLearningRateRatio } = LISTENING;
  return (
    learningRate * Math.min(1, (step + 1) / warmupSteps) * Math.max(finalLearningRateRatio, 1 - step / steps)
  );
}

/** What the second phase needs. */
export interface ListeningOptions {
  readonly task: Task;
  readonly seed: bigint;
  readonly steps: number;
  readonly encode: EncodeWords;
  readonly vocabulary: readonly string[];
  /** What the phase does without. */
  readonly without?: ListeningPart | undefined;
  /** Called after each step of each peer with its loss in nats per token. */
  readonly onStep: (peer: number, loss: number) => void;
}

/**
 * Second phase: the peers answer questions one after the other in random order, and each learns the right solution after
 * what it heard, so that it learns to judge the others' real answers. Fresh answers every {@link LISTENING.blockSteps}
 * steps.
 */
export async function listeningPhase(
  models: readonly LanguageModel[],
  coverages: readonly Coverage[],
  options: ListeningOptions,
): Promise<void> {
  const { blockSteps } = LISTENING;
  for (let first = 0; first < options.steps; first += blockSteps) {
    const block = first / blockSteps;
    const random = createRandom(seedFrom(options.seed, 'listening', block));
    const heard = await answerInTurn(models, listeningQuestions(options.task, random), block, options);
    const steps = Math.min(blockSteps, options.steps - first);
    await Promise.all(
      models.map((model, peer) => {
        const own = createRandom(seedFrom(options.seed, 'listening', block, peer));
        const items = listeningBlock(options.task, peer, coverages[peer], heard, own, options.without);
        return trainBlock(model, blockBatches(items, own).slice(0, steps), first, options, peer);
      }),
    );
  }
}

/** Sorted by length within pools, so that a batch pads little but the order stays mixed. */
function blockBatches(items: readonly TrainingItem[], random: Random): TrainingItem[][] {
  const pool = POOL_BATCHES * LISTENING.batchSize;
  const batches: TrainingItem[][] = [];
  for (let i = 0; i < items.length; i += pool) {
    batches.push(...lengthBatches(items.slice(i, i + pool), LISTENING.batchSize, (values) => [...values]));
  }
  return random.shuffle(batches);
}

async function trainBlock(
  model: LanguageModel,
  batches: readonly TrainingItem[][],
  firstStep: number,
  options: ListeningOptions,
  peer: number,
): Promise<void> {
  for (const [i, batch] of batches.entries()) {
    const rate = listeningRate(firstStep + i, options.steps);
    options.onStep(peer, await trainItems(model, batch, options.encode, LISTENING, rate));
  }
}

/** Questions with answers that no peer gave. */
function inventAnswers(
  questions: readonly { problem: Problem; order: number[] }[],
  block: number,
  { task, seed }: ListeningOptions,
): HeardQuestion[] {
  const random = createRandom(seedFrom(seed, 'listening', block, 'invented'));
  return questions.map(({ problem, order }) => ({
    problem,
    turns: order.map((speaker) => ({ speaker, text: syntheticAnswer(task, problem, random) })),
  }));
}

async function answerInTurn(
  models: readonly LanguageModel[],
  questions: readonly { problem: Problem; order: number[] }[],
  block: number,
  options: ListeningOptions,
): Promise<HeardQuestion[]> {
  if (options.without === 'real-answers') return inventAnswers(questions, block, options);
  const turns: Turn[][] = questions.map(() => []);
  const end = options.encode(SPECIAL_TOKENS.end)[0];
  for (let place = 0; place < models.length; place++) {
    const spoken = await Promise.all(
      models.map(async (model, speaker) => {
        const indices = questions.flatMap(({ order }, i) => (order[place] === speaker ? [i] : []));
        const items = indices.map((i) => ({
          prompt: options.encode(renderPrompt(questions[i].problem.question, shown(turns[i]))),
          seed: Number(seedFrom(options.seed, 'listening', block, i, speaker) & 0xffffffffn),
        }));
        const completions = await model.generate(items, {
          maxTokens: options.task.maxResponseTokens,
          temperature: listeningTemperature(block),
          stopTokens: [end],
        });
        return indices.map((i, j) => ({ i, turn: { speaker, text: words(completions[j].tokens, end) } }));
      }),
    );
    for (const { i, turn } of spoken.flat()) turns[i].push(turn);
  }
  return questions.map(({ problem }, i) => ({ problem, turns: turns[i] }));

  function shown(heard: readonly Turn[]): readonly Turn[] {
    return options.without === 'markers' ? unmarked(heard) : heard;
  }

  function words(tokens: readonly number[], stop: number): string {
    return tokens
      .filter((token) => token !== stop)
      .map((token) => options.vocabulary[token])
      .join(' ');
  }
}
