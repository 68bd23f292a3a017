import type { LabelledQuestion } from '../exact-match.js';
import { drawSplit } from './split.js';
import type { Task } from './task.js';

/** A question without its answer: all that a run ever sees. */
export interface UnlabelledQuestion {
  readonly promptId: string;
  readonly question: string;
}

/** `count` different questions of a task to train on, without labels. */
export function unlabelledQuestions(task: Task, count: number, seed: bigint): UnlabelledQuestion[] {
  return drawSplit(task, 'unlabelled', count, seed).map(({ question }, i) => ({
    promptId: questionId('u', i),
    question,
  }));
}

/** The same questions with their right solutions, for the ceiling of a study. */
export function solvedQuestions(
  task: Task,
  count: number,
  seed: bigint,
): (UnlabelledQuestion & { solution: string })[] {
  return drawSplit(task, 'unlabelled', count, seed).map((problem, i) => ({
    promptId: questionId('u', i),
    question: problem.question,
    solution: task.solve(problem).response,
  }));
}

/** `count` different questions of a task with answers, for measuring only. Never the same as one to train on. */
export function heldOutQuestions(task: Task, count: number, seed: bigint): LabelledQuestion[] {
  return drawSplit(task, 'held-out', count, seed).map((problem, i) => ({
    promptId: questionId('h', i),
    question: problem.question,
    answer: task.solve(problem).answer,
  }));
}

function questionId(prefix: string, index: number): string {
  return `${prefix}${String(index).padStart(6, '0')}`;
}
