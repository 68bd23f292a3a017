import { WORD_PROBLEM_ANSWERS } from '../answer.js';
import type { Task } from '../tasks/task.js';
import { factsOf, factTriples } from './facts.js';
import { FAMILIES } from './families.js';
import { corrupt, sampleProblem, solve, type WordProblem } from './problem.js';
import { NUMBER_WORDS, WORD_PROBLEM_WORDS } from './vocabulary.js';

/** Results and the answer decide whether a chain is right: `a op b = r ; x op y = s A s <eos>`. */
const TOKEN_WEIGHTS = [1, 3, 1, 1, 2, 1, 2, 2, 2, 1, 3, 1, 3, 1] as const;

/** Two-step word problems over the whole numbers from 0 to 99. */
export const WORD_PROBLEMS: Task<WordProblem> = {
  name: 'word-problems',
  families: FAMILIES.length,
  /** Products, two unknowns, sums and quotients. */
  strata: [
    [0, 1, 5],
    [6, 7, 8],
    [2, 3, 4, 9],
  ],
  factTriples: factTriples(),
  blindFactsPerPeer: 4,
  weakKeep: 0.02,
  blindKeep: 0.05,
  words: WORD_PROBLEM_WORDS,
  orderedWords: NUMBER_WORDS,
  learningRate: 4e-3,
  answers: WORD_PROBLEM_ANSWERS,
  maxResponseTokens: 16,
  sample: sampleProblem,
  solve,
  corrupt,
  facts: factsOf,
  tokenWeights: () => TOKEN_WEIGHTS,
};
