import type { AnswerOptions } from './answer.js';

/** A benchmark that the command line knows by name. */
export type BenchmarkName = 'multiarith' | 'simuleq' | 'math500';

/** How a benchmark is asked and graded. */
export interface Benchmark {
  readonly name: BenchmarkName;
  /** As papers call it. */
  readonly title: string;
  /** What a row's answer is: a number, a list of the values of its unknowns, or LaTeX. */
  readonly answerShape: 'number' | 'numbers' | 'latex';
  /** What a peer is asked, around `{question}`. */
  readonly promptTemplate: string;
  /** How a final answer is found in a response. */
  readonly answers: AnswerOptions;
  /** How close numbers must be, relative to the larger of the two and 1. */
  readonly tolerance: number;
  /** Names that its original gives to fields, by ours. */
  readonly otherNames?: Readonly<Record<string, string>>;
}

const STEP_BY_STEP = '{question}\n\nSolve this step by step and put the final answer in \\boxed{}';

/** The benchmarks by name. The choice of prompts, forms and tolerances is ours. */
export const BENCHMARKS: Readonly<Record<BenchmarkName, Benchmark>> = {
  /** Roy and Roth, 2015: arithmetic in several steps, whole numbers. */
  multiarith: {
    name: 'multiarith',
    title: 'MultiArith',
    answerShape: 'number',
    promptTemplate: `${STEP_BY_STEP}.`,
    answers: { forms: ['boxed', 'answer-is', 'marker', 'last-number'], numeric: true },
    tolerance: 1e-6,
  },
  /** Kushman et al., 2014 (ALG514): systems of linear equations in words; solutions are rounded in the source. */
  simuleq: {
    name: 'simuleq',
    title: 'SimulEq',
    answerShape: 'numbers',
    promptTemplate: `${STEP_BY_STEP}; if it asks for several numbers, put all of them there, separated by commas.`,
    answers: { forms: ['boxed', 'answer-is', 'last-number'] },
    tolerance: 1e-3,
  },
  /** Lightman et al., 2023: 500 problems of MATH (Hendrycks et al., 2021). */
  math500: {
    name: 'math500',
    title: 'MATH-500',
    answerShape: 'latex',
    promptTemplate: `${STEP_BY_STEP}.`,
    answers: { forms: ['boxed', 'answer-is'] },
    tolerance: 1e-6,
    otherNames: { question: 'problem', id: 'unique_id' },
  },
};

/** Words that ask for a quantity. */
const ASKS = /\b(?:how (?:many|much|long|far|fast|old|wide|tall|high)|what|find|determine|calculate)\b/i;
/** Words behind them by which a question asks for more than one. */
const SEVERAL =
  /\b(?:and|each|both|them|respectively|numbers|integers|rates|speeds|ages|angles|dimensions|lengths|amounts|prices|costs)\b/i;

/**
 * Whether a word problem asks for one quantity, told by its wording. SimulEq lists both unknowns of its equations also where
 * the question asks for one of them (about 100 of 423), normally the first.
 */
export function asksForOne(question: string): boolean {
  const [, asked, ...others] = question.split(ASKS);
  return (
    asked !== undefined && others.length === 0 && question.split('?').length <= 2 && !SEVERAL.test(asked)
  );
}
