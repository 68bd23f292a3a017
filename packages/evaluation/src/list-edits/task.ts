import type { Task } from '../tasks/task.js';
import { FAMILIES, JOINTS, LENGTHS, OPENINGS } from './families.js';
import { LETTERS, OPERATIONS } from './operations.js';
import { corrupt, sampleProblem, solve, type ListProblem } from './problem.js';

/** An answer is letters between spaces, so only its marker shows where it begins. */
const ANSWERS = { forms: ['marker'] } as const;
const LENGTH_NAMES = Array.from({ length: LENGTHS.max - LENGTHS.min + 1 }, (_, i) => LENGTHS.min + i);
/** Letters decide whether a solution is right; `A` and `<eos>` only end its lists. */
const LETTER_WEIGHT = 2;

/** Lists of three to five letters, changed in two steps. */
export const LIST_EDITS: Task<ListProblem> = {
  name: 'list-edits',
  families: FAMILIES.length,
  /** Whole orders; rotations and exchanges; letters that are added or left out. */
  strata: [
    [0, 1, 8],
    [2, 3, 4, 5],
    [6, 7, 9],
  ],
  factTriples: FAMILIES.map(([first]) => {
    const [short, middle, long] = LENGTH_NAMES.map((length) => `${first} ${length}`);
    return [short, middle, long] as const;
  }),
  blindFactsPerPeer: 2,
  weakKeep: 0.05,
  blindKeep: 0.1,
  words: [
    ...['A', 'yes', 'no', '?'],
    ...LETTERS,
    ...[...OPENINGS, ...JOINTS, ...Object.values(OPERATIONS).flatMap(({ wordings }) => wordings)]
      .flatMap((text) => text.split(' '))
      .filter((word) => word !== 'X'),
  ],
  /** Letters that start out alike are learned more slowly, and only one family asks for their order. */
  orderedWords: [],
  learningRate: 2.5e-3,
  answers: ANSWERS,
  maxResponseTokens: 16,
  sample: sampleProblem,
  solve,
  corrupt,
  facts: ({ family, list }) => [`${FAMILIES[family][0]} ${list.length}`],
  tokenWeights: (response) => response.split(' ').map((word) => (word === 'A' ? 1 : LETTER_WEIGHT)),
};
