import type { Random } from '@parley/pst';
import { extractAnswer } from '../answer.js';
import { drawPretraining } from './pretraining.js';
import { keepProbability, type Coverage } from './population.js';
import { renderPrompt, SPECIAL_TOKENS, type Turn } from './prompt.js';
import { splitOf } from './split.js';
import type { Problem, Task } from './task.js';
import { trainingItem, type TrainingItem } from './training-item.js';

/** Settings of the second phase, in which peers hear one another's real answers. */
export const LISTENING = Object.freeze({
  steps: 300,
  batchSize: 48,
  /** Steps between two rounds of fresh answers. */
  blockSteps: 50,
  learningRate: 1e-3,
  warmupSteps: 20,
  /** The rate falls linearly to this share of its peak. */
  finalLearningRateRatio: 0.05,
  weightDecay: 0.02,
  beta1: 0.9,
  beta2: 0.98,
  maxGradNorm: 1,
});

/** Share of a block's items that should come with context. */
const CONTEXT_SHARE = 0.5;
/** Chance that a first speaker, who heard nobody, gets an item that shows it its own answer. */
const HEARS_ITSELF = 0.32;

/**
 * What the second phase can do without, to see what it is for: `markers` of who spoke; `real-answers`, in whose place come
 * solutions of which a third is corrupted; the `filter` of items that nobody solved.
 */
export const LISTENING_PARTS = ['markers', 'real-answers', 'filter'] as const;
export type ListeningPart = (typeof LISTENING_PARTS)[number];

/** A question and what all three peers said about it, in the order of speaking. */
export interface HeardQuestion {
  readonly problem: Problem;
  readonly turns: readonly Turn[];
}

/** Sampling temperature of a block: every third is greedy, so that peers hear both kinds of answer. */
export function listeningTemperature(block: number): number {
  return block % 3 === 2 ? 0 : 0.7;
}

/** Questions of one block and, for each, the random order of speakers in which the peers are to answer them. */
export function listeningQuestions(task: Task, random: Random): { problem: Problem; order: number[] }[] {
  const count = Math.floor(LISTENING.blockSteps * LISTENING.batchSize * CONTEXT_SHARE * 1.5) + 60;
  const found: { problem: Problem; order: number[] }[] = [];
  while (found.length < count) {
    const problem = task.sample(random);
    if (splitOf(task, problem.question) === 'pretraining')
      found.push({ problem, order: random.shuffle([0, 1, 2]) });
  }
  return found;
}

/**
 * One peer's items of a block, shuffled: the right solution after what the peer heard, filled up with plain
 * questions of its own coverage. An item in which nobody whom it heard was right teaches solving and not judging,
 * so it is kept only as often as the peer's own coverage would have met it.
 */
export function listeningBlock(
  task: Task,
  speaker: number,
  coverage: Coverage,
  heard: readonly HeardQuestion[],
  random: Random,
  without?: ListeningPart,
): TrainingItem[] {
  const size = LISTENING.blockSteps * LISTENING.batchSize;
  const items = heard.flatMap(
    (question) => listeningItem(task, speaker, coverage, question, random, without) ?? [],
  );
  while (items.length < size) {
    const { problem, noisy } = drawPretraining(task, coverage, random);
    const { response } = noisy ? task.corrupt(problem, random) : task.solve(problem);
    items.push(solveItem(task, 'solve', problem, [], response));
  }
  return random.shuffle(items).slice(0, size);
}

/** The item one peer makes of one question, or null where it makes none. */
export function listeningItem(
  task: Task,
  speaker: number,
  coverage: Coverage,
  { problem, turns }: HeardQuestion,
  random: Random,
  without?: ListeningPart,
): TrainingItem | null {
  const place = turns.findIndex((turn) => turn.speaker === speaker);
  if (place < 0) throw new RangeError(`speaker ${speaker} said nothing about "${problem.question}"`);
  const heard = place > 0 ? turns.slice(0, place) : random.float() < HEARS_ITSELF ? [turns[0]] : [];
  if (heard.length === 0) return null;
  const { response, answer } = task.solve(problem);
  const judgeable =
    without === 'filter' || heard.some(({ text }) => extractAnswer(text, task.answers) === answer);
  if (!judgeable && random.float() >= keepProbability(task, coverage, problem)) return null;
  const shown = without === 'markers' ? unmarked(heard) : heard;
  return solveItem(task, 'solve-in-context', problem, shown, response);
}

/** Turns that all seem to be the same speaker's. */
export function unmarked(turns: readonly Turn[]): Turn[] {
  return turns.map(({ text }) => ({ speaker: 0, text }));
}

function solveItem(
  task: Task,
  kind: 'solve' | 'solve-in-context',
  problem: Problem,
  turns: readonly Turn[],
  response: string,
): TrainingItem {
  const completion = `${response} ${SPECIAL_TOKENS.end}`;
  return trainingItem(kind, renderPrompt(problem.question, turns), completion, task.tokenWeights(response));
}
