import type { Random } from '@parley/pst';
import type { Problem, Solution } from '../tasks/task.js';
import { FAMILIES, JOINTS, LENGTHS, OPENINGS } from './families.js';
import { LETTERS, OPERATIONS, type Letters, type OperationName } from './operations.js';

/** A list to change in two steps; its family is an index into {@link FAMILIES}. */
export interface ListProblem extends Problem {
  /** Different letters. */
  readonly list: Letters;
  /** The letter that is put in, which the list does not have; unused where a family puts none in. */
  readonly put: string;
}

/** Draws a problem of any split; `family` fixes its kind. */
export function sampleProblem(random: Random, family = random.integer(0, FAMILIES.length - 1)): ListProblem {
  const [put, ...list] = random.sample(LETTERS, 1 + random.integer(LENGTHS.min, LENGTHS.max));
  const [first, second] = FAMILIES[family].map((name) => random.pick<string>(OPERATIONS[name].wordings));
  const words = [random.pick(OPENINGS), ...list, '.', first, random.pick(JOINTS), second].join(' ');
  return { family, list, put, question: words.replace(/\bX\b/, put) };
}

/** The right solution: the list after each step, for example `b f a c A f a c`. */
export function solve({ family, list, put }: ListProblem): Solution {
  const [first, second] = FAMILIES[family];
  const changed = OPERATIONS[first].apply(list, put);
  return write(changed, OPERATIONS[second].apply(changed, put));
}

type Mistake = 'first-operation' | 'second-operation' | 'first-result' | 'second-result';
const MISTAKES: readonly Mistake[] = ['first-operation', 'second-operation', 'first-result', 'second-result'];
const NAMES = Object.keys(OPERATIONS) as OperationName[];

/**
 * A solution with one mistake: a wrong operation or a slip in a list, carried through to the end. Its answer always
 * differs from the right one, so that a verification item's label is true.
 */
export function corrupt(problem: ListProblem, random: Random): Solution {
  const right = solve(problem).answer;
  for (;;) {
    const wrong = withMistake(problem, random.pick(MISTAKES), random);
    if (wrong.answer !== right) return wrong;
  }
}

function withMistake({ family, list, put }: ListProblem, mistake: Mistake, random: Random): Solution {
  const [first, second] = FAMILIES[family];
  const one = mistake === 'first-operation' ? otherOperation(first, random) : first;
  const exact = OPERATIONS[one].apply(list, put);
  const changed = mistake === 'first-result' ? slip(exact, random) : exact;
  const two = mistake === 'second-operation' ? otherOperation(second, random) : second;
  const result = OPERATIONS[two].apply(changed, put);
  return write(changed, mistake === 'second-result' ? slip(result, random) : result);
}

function write(changed: Letters, result: Letters): Solution {
  const answer = result.join(' ');
  return { response: `${changed.join(' ')} A ${answer}`, answer };
}

function otherOperation(name: OperationName, random: Random): OperationName {
  return random.pick(NAMES.filter((other) => other !== name));
}

/** Two neighbours exchanged, or one letter replaced by another. */
function slip(list: Letters, random: Random): Letters {
  const slipped = [...list];
  const at = random.integer(0, list.length - 1);
  if (at > 0 && random.float() < 0.5) {
    [slipped[at - 1], slipped[at]] = [list[at], list[at - 1]];
  } else {
    slipped[at] = random.pick(LETTERS.filter((letter) => letter !== list[at]));
  }
  return slipped;
}
