import type { Random } from '@parley/pst';

/** The three numbers of a problem; `c` is unused (0) where a family needs two. */
export interface Numbers {
  readonly a: number;
  readonly b: number;
  readonly c: number;
}

/** The arithmetic that responses write out. Division is exact in every gold chain. */
export type Operator = '+' | '-' | '*' | '/';

/**
 * One kind of two-step problem: r₁ = a ∘₁ b, then the result of ∘₂ on what `second` gives. In the template the
 * words N and M stand for two names, O for an object, and a, b, c for the numbers.
 */
export interface Family {
  readonly template: string;
  readonly operators: readonly [first: Operator, second: Operator];
  /** Operands of the second step, from the numbers and the first result. */
  readonly second: (numbers: Numbers, first: number) => readonly [number, number];
  /** Draws numbers for which every step is a whole number from 0 to 99. */
  readonly draw: (random: Random) => Numbers;
}

const MAX_NUMBER = 20;
const MAX_TERM = 10;
/** Factors run from 2 to here. */
export const MAX_FACTOR = 7;

export const NAMES = ['tom', 'ann', 'bob', 'sue', 'max', 'eve'] as const;
export const OBJECTS = ['apples', 'pens', 'coins', 'eggs', 'cards', 'nuts'] as const;

const thenC = ({ c }: Numbers, first: number): readonly [number, number] => [first, c];
const halved = (_: Numbers, first: number): readonly [number, number] => [first, 2];
const factor = (random: Random): number => random.integer(2, MAX_FACTOR);

/** A sum and a difference of two unknowns, y from 1 and x − y from 1. */
function sumAndDifference(random: Random): Numbers {
  const y = random.integer(1, 12);
  const b = random.integer(1, MAX_TERM);
  return { a: y + b + y, b, c: 0 };
}

/** The ten families. Their index is their name everywhere; append, never reorder. */
export const FAMILIES: readonly Family[] = [
  {
    template: 'N has a bags with b O each . N eats c . how many left',
    operators: ['*', '-'],
    second: thenC,
    draw: (random) => {
      const [a, b] = [factor(random), factor(random)];
      return { a, b, c: random.integer(1, Math.min(MAX_TERM, a * b - 1)) };
    },
  },
  {
    template: 'N has a bags with b O each . N finds c more . how many now',
    operators: ['*', '+'],
    second: thenC,
    draw: (random) => ({ a: factor(random), b: factor(random), c: random.integer(2, MAX_TERM) }),
  },
  {
    template: 'N had a O . N lost b and then found c . how many now',
    operators: ['-', '+'],
    second: thenC,
    draw: (random) => {
      const a = random.integer(6, MAX_NUMBER);
      return { a, b: random.integer(2, Math.min(MAX_TERM, a - 1)), c: random.integer(2, MAX_TERM) };
    },
  },
  {
    template: 'N has a O and M has b . they fill c boxes . how many per box',
    operators: ['+', '/'],
    second: thenC,
    draw: (random) => {
      const c = random.integer(2, 5);
      const total = c * factor(random);
      const b = random.integer(1, Math.min(MAX_TERM, total - 1));
      return { a: total - b, b, c };
    },
  },
  {
    template: 'N had a O . N gave b away . the rest fill c boxes . how many per box',
    operators: ['-', '/'],
    second: thenC,
    draw: (random) => {
      const c = random.integer(2, 5);
      const rest = c * factor(random);
      const b = random.integer(2, MAX_TERM);
      return { a: rest + b, b, c };
    },
  },
  {
    template: 'N has a O . M has b times as many . how many together',
    operators: ['*', '+'],
    second: ({ a }, first) => [first, a],
    draw: (random) => ({ a: factor(random), b: factor(random), c: 0 }),
  },
  {
    template: 'N and M have a O together . N has b more than M . how many has N',
    operators: ['+', '/'],
    second: halved,
    draw: sumAndDifference,
  },
  {
    template: 'N and M have a O together . M has b fewer than N . how many has M',
    operators: ['-', '/'],
    second: halved,
    draw: sumAndDifference,
  },
  {
    template: 'N sells O and cups . two O and one cup cost a . one O and one cup cost b . cup price',
    operators: ['-', '-'],
    second: ({ b }, first) => [b, first],
    draw: (random) => {
      const price = random.integer(2, MAX_TERM);
      const cup = random.integer(2, MAX_TERM);
      return { a: 2 * price + cup, b: price + cup, c: 0 };
    },
  },
  {
    template: 'N buys a O and b cards . c are bad . how many good',
    operators: ['+', '-'],
    second: thenC,
    draw: (random) => {
      const a = random.integer(3, MAX_NUMBER);
      const b = random.integer(3, MAX_TERM);
      return { a, b, c: random.integer(1, Math.min(MAX_TERM, a + b - 1)) };
    },
  },
];
