import type { OperationName } from './operations.js';

/** The two operations of each of the ten families. Their index is their name everywhere; append, never reorder. */
export const FAMILIES: readonly (readonly [first: OperationName, second: OperationName])[] = [
  ['reverse', 'drop-first'],
  ['sort', 'drop-last'],
  ['swap-ends', 'put-front'],
  ['rotate-left', 'put-end'],
  ['rotate-right', 'drop-last'],
  ['swap-first-two', 'put-end'],
  ['double-first', 'drop-last'],
  ['double-last', 'drop-first'],
  ['every-second', 'put-front'],
  ['put-second', 'drop-last'],
];

/** Shortest and longest list of a question. */
export const LENGTHS = { min: 3, max: 5 } as const;

/** How a question begins, before its list. */
export const OPENINGS = ['take the list', 'start with'] as const;

/** What stands between the two operations. */
export const JOINTS = ['. then', '. next'] as const;
