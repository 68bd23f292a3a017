import { LIST_EDITS } from '../list-edits/task.js';
import { WORD_PROBLEMS } from '../word-problems/task.js';
import type { Task } from './task.js';

/** Every task that peers can be pretrained for; the first is the demo's. */
export const TASKS: readonly Task[] = [WORD_PROBLEMS, LIST_EDITS];

/** The task of that name. @throws RangeError naming the known ones */
export function taskNamed(name: string): Task {
  const task = TASKS.find((one) => one.name === name);
  if (task !== undefined) return task;
  throw new RangeError(`There is no task "${name}"; there are ${TASKS.map((one) => one.name).join(', ')}`);
}
