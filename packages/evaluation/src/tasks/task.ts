import type { Random } from '@parley/pst';
import type { AnswerOptions } from '../answer.js';

/** A question and what its solution depends on. Only {@link Problem.question} is ever shown to a peer. */
export interface Problem {
  /** Index of its kind: 0 to {@link Task.families} − 1. */
  readonly family: number;
  /** Words separated by single spaces, all of them in {@link Task.words}. */
  readonly question: string;
}

/** A written-out solution and the answer it ends with. */
export interface Solution {
  /** Words separated by single spaces, ending with `A` and the answer. */
  readonly response: string;
  readonly answer: string;
}

/**
 * What the demo's peers learn and are asked: problems of several families with solutions that a program can write. All
 * that pretraining, listening and measuring know of a task is here.
 */
export interface Task<P extends Problem = Problem> {
  /** Lower case with hyphens. Decides splits and populations: a change of name changes every question's split. */
  readonly name: string;
  /** How many families there are. Their index is their name everywhere; append, never reorder. */
  readonly families: number;
  /** Families of comparable difficulty, at least three a stratum; a peer is weak in one of each. */
  readonly strata: readonly (readonly number[])[];
  /** Facts of comparable difficulty by threes, of which each peer is blind to one; names as {@link facts} gives. */
  readonly factTriples: readonly (readonly [string, string, string])[];
  /** How many of the triples are dealt. */
  readonly blindFactsPerPeer: number;
  /** Share of the problems of a weak family that a peer's pretraining keeps. */
  readonly weakKeep: number;
  /** Share of the problems with a blind fact that it keeps. */
  readonly blindKeep: number;
  /** Every word of questions and solutions; after the special tokens, a word's place decides its token id. */
  readonly words: readonly string[];
  /** Words of {@link words} that have an order, which their embeddings start out with. */
  readonly orderedWords: readonly string[];
  /** Peak learning rate of the phase in which each peer learns alone. */
  readonly learningRate: number;
  /** How a response's final answer is found. */
  readonly answers: AnswerOptions;
  /** Tokens of the longest response, right or corrupted, its `<eos>` included. */
  readonly maxResponseTokens: number;
  /** Draws a problem of any split; `family` fixes its kind. */
  sample(random: Random, family?: number): P;
  /** The right solution. */
  solve(problem: P): Solution;
  /** A solution with one mistake, carried through to the end. Its answer always differs from the right one. */
  corrupt(problem: P, random: Random): Solution;
  /** What the solution rests on that a peer may be blind to. */
  facts(problem: P): readonly string[];
  /** Weights of a right response's tokens in the listening phase; those that decide it weigh more. Missing ones are 1. */
  tokenWeights(response: string): readonly number[];
}
