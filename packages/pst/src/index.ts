export * from './recipe.js';
export * from './round.js';
