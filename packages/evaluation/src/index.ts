export * from './answer.js';
export * from './exact-match.js';
export * from './gap.js';
export * from './interval.js';
export * from './list-edits/task.js';
export * from './tasks/index.js';
export * from './word-problems/task.js';
