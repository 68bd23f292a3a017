export * from './answer.js';
export * from './exact-match.js';
export * from './gap.js';
export * from './interval.js';
export * from './word-problems/index.js';
