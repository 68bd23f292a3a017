import type { Random } from '@parley/pst';
import type { Problem, Solution } from '../tasks/task.js';
import { FAMILIES, NAMES, OBJECTS, type Numbers, type Operator } from './families.js';

/** A word problem; its family is an index into {@link FAMILIES}. */
export interface WordProblem extends Problem {
  readonly numbers: Numbers;
}

/** Draws a problem of any split; `family` fixes its kind. */
export function sampleProblem(random: Random, family = random.integer(0, FAMILIES.length - 1)): WordProblem {
  const { template, draw } = FAMILIES[family];
  const numbers = draw(random);
  const [name, other] = random.sample(NAMES, 2);
  const values: Record<string, string> = {
    N: name,
    M: other,
    O: random.pick(OBJECTS),
    a: String(numbers.a),
    b: String(numbers.b),
    c: String(numbers.c),
  };
  const question = template.replace(/\b[NMOabc]\b/g, (word) => values[word]);
  return { family, numbers, question };
}

/** The right solution, for example `3 * 4 = 12 ; 12 - 5 = 7 A 7`. */
export function solve(problem: WordProblem): Solution {
  const { operators, second } = FAMILIES[problem.family];
  const { a, b } = problem.numbers;
  const first = calculate(operators[0], a, b);
  const [x, y] = second(problem.numbers, first);
  return write([a, operators[0], b, first], [x, operators[1], y, calculate(operators[1], x, y)]);
}

type Mistake = 'first-operator' | 'second-operator' | 'first-result' | 'second-result';
const MISTAKES: readonly Mistake[] = ['first-operator', 'second-operator', 'first-result', 'second-result'];

/**
 * A solution with one mistake: a wrong operator or a slip in a result, carried through to the end. Its answer
 * always differs from the right one, so that a verification item's label is true.
 */
export function corrupt(problem: WordProblem, random: Random): Solution {
  const right = solve(problem).answer;
  for (;;) {
    const wrong = withMistake(problem, random.pick(MISTAKES), random);
    if (wrong.answer !== right) return wrong;
  }
}

function withMistake(problem: WordProblem, mistake: Mistake, random: Random): Solution {
  const { operators, second } = FAMILIES[problem.family];
  const { a, b } = problem.numbers;
  const one = mistake === 'first-operator' ? otherOperator(operators[0], random) : operators[0];
  const exact = calculate(one, a, b);
  const first = mistake === 'first-result' ? slip(exact, random) : exact;
  const [x, y] = second(problem.numbers, first);
  const two = mistake === 'second-operator' ? otherOperator(operators[1], random) : operators[1];
  const result = calculate(two, x, y);
  return write([a, one, b, first], [x, two, y, mistake === 'second-result' ? slip(result, random) : result]);
}

type Step = readonly [left: number, operator: Operator, right: number, result: number];

function write(first: Step, second: Step): Solution {
  const show = ([left, operator, right, result]: Step): string => `${left} ${operator} ${right} = ${result}`;
  const answer = String(second[3]);
  return { response: `${show(first)} ; ${show(second)} A ${answer}`, answer };
}

/** Wrapped into 0 … 99, the numbers the vocabulary has; gold chains never need it. */
function calculate(operator: Operator, x: number, y: number): number {
  switch (operator) {
    case '+':
      return (x + y) % 100;
    case '-':
      return Math.abs(x - y);
    case '*':
      return (x * y) % 100;
    case '/':
      return y === 0 ? 0 : Math.floor(x / y);
  }
}

function otherOperator(operator: Operator, random: Random): Operator {
  if (operator === '/') return '-';
  return random.pick((['+', '-', '*'] as const).filter((other) => other !== operator));
}

function slip(result: number, random: Random): number {
  const moved = result + random.pick([-10, -2, -1, 1, 2, 10]);
  return moved >= 0 ? moved % 100 : (result + random.pick([1, 2, 10])) % 100;
}
