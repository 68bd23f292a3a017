import { createRandom, seedFrom, type Random } from '@parley/pst';
import type { Problem, Task } from './task.js';

/** What a peer's pretraining covers. Plain JSON. */
export interface Coverage {
  /** Families the peer hardly ever meets. */
  readonly weakFamilies: readonly number[];
  /** Facts that it hardly ever meets, by the names that its task gives them. */
  readonly blindFacts: readonly string[];
  /** Share of the problems of a weak family that are kept. */
  readonly weakKeep: number;
  /** Share of the problems with a blind fact that are kept. */
  readonly blindKeep: number;
  /** Chance that a weak or blind problem comes with a corrupted solution. */
  readonly weakNoise: number;
  /** The same for all other problems. */
  readonly noise: number;
}

/** Three peers that are weak in different places. */
export interface Population {
  readonly seed: bigint;
  readonly coverages: readonly [Coverage, Coverage, Coverage];
}

/** A drawn problem, and whether its solution is to be corrupted. */
export interface CoveredProblem {
  readonly problem: Problem;
  readonly noisy: boolean;
}

const PEERS = 3;

/**
 * Deals weak spots of the same size to three peers: one family of every stratum each, so that two peers know what the
 * third does not, and some facts each of comparable difficulty. Balance matters: a peer far ahead of the others has
 * little to hear.
 */
export function makePopulation(task: Task, seed: bigint): Population {
  const random = createRandom(seedFrom(seed, task.name, 'population'));
  const hands = task.strata.map((stratum) => random.sample(stratum, PEERS));
  const facts = dealFacts(task, random);
  const coverage = (peer: number): Coverage => ({
    weakFamilies: hands.map((hand) => hand[peer]).sort((a, b) => a - b),
    blindFacts: facts[peer],
    weakKeep: task.weakKeep,
    blindKeep: task.blindKeep,
    weakNoise: 0.4,
    noise: 0.03,
  });
  return { seed, coverages: [coverage(0), coverage(1), coverage(2)] };
}

/** Chance that a problem is kept when this peer's pretraining meets it. */
export function keepProbability(task: Task, coverage: Coverage, problem: Problem): number {
  const weak = coverage.weakFamilies.includes(problem.family) ? coverage.weakKeep : 1;
  const blind = task.facts(problem).some((fact) => coverage.blindFacts.includes(fact));
  return weak * (blind ? coverage.blindKeep : 1);
}

/** Draws what the peer's pretraining meets; of any split, the caller filters. */
export function drawCovered(task: Task, coverage: Coverage, random: Random): CoveredProblem {
  for (;;) {
    const problem = task.sample(random);
    const keep = keepProbability(task, coverage, problem);
    if (random.float() < keep) {
      return { problem, noisy: random.float() < (keep < 0.5 ? coverage.weakNoise : coverage.noise) };
    }
  }
}

function dealFacts(task: Task, random: Random): string[][] {
  const triples = task.factTriples.map((triple) => random.shuffle(triple));
  const dealt = random.sample(triples, task.blindFactsPerPeer);
  return Array.from({ length: PEERS }, (_, peer) => dealt.map((triple) => triple[peer]).sort());
}
