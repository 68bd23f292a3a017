import { createRandom, seedFrom } from '@parley/pst';
import type { Problem, Task } from './task.js';

/** Which questions are for what. A question is in exactly one split, for every seed and population. */
export type Split = 'held-out' | 'unlabelled' | 'pretraining';

/** One tenth held out, one tenth unlabelled, the rest for pretraining, by a hash of task and question alone. */
export function splitOf(task: Task, question: string): Split {
  const bucket = seedFrom(task.name, 'split', question) % 10n;
  return bucket === 0n ? 'held-out' : bucket === 1n ? 'unlabelled' : 'pretraining';
}

/** Draws in a row that found nothing new, after which a split is taken to have no more. */
const FRUITLESS_DRAWS = 100_000;

/**
 * `count` different problems of one split, the same for the same seed.
 *
 * @throws RangeError if the task has fewer
 */
export function drawSplit<P extends Problem>(task: Task<P>, split: Split, count: number, seed: bigint): P[] {
  const random = createRandom(seedFrom(seed, task.name, split));
  const found = new Map<string, P>();
  let fruitless = 0;
  while (found.size < count) {
    const problem = task.sample(random);
    if (splitOf(task, problem.question) === split && !found.has(problem.question)) {
      found.set(problem.question, problem);
      fruitless = 0;
    } else if (++fruitless === FRUITLESS_DRAWS) {
      throw new RangeError(
        `Task ${task.name} has about ${found.size} different ${split} questions, not ${count}; ask for fewer`,
      );
    }
  }
  return [...found.values()];
}
