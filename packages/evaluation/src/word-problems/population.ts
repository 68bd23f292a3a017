import { createRandom, seedFrom, type Random } from '@parley/pst';
import { FAMILIES, MAX_FACTOR } from './families.js';
import { sampleProblem, type WordProblem } from './problem.js';

/** What a peer's pretraining covers. Plain JSON. */
export interface Coverage {
  /** Families the peer hardly ever meets. */
  readonly weakFamilies: readonly number[];
  /** Products x · y (x ≤ y) that it hardly ever meets, written `x*y`. */
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
  readonly problem: WordProblem;
  readonly noisy: boolean;
}

const PEERS = 3;
const BLIND_FACTS_PER_PEER = 4;
/** Families of comparable difficulty: products, two unknowns, sums and quotients. */
const STRATA: readonly (readonly number[])[] = [
  [0, 1, 5],
  [6, 7, 8],
  [2, 3, 4, 9],
];

/**
 * Deals weak spots of the same size to three peers: one family of every stratum each, so that two peers know what the
 * third does not, and four products each of about the same size. Balance matters: a peer far ahead of the others has
 * little to hear.
 */
export function makePopulation(seed: bigint): Population {
  const random = createRandom(seedFrom(seed, 'word-problems', 'population'));
  const hands = STRATA.map((stratum) => random.sample(stratum, PEERS));
  const facts = dealFacts(random);
  const coverage = (peer: number): Coverage => ({
    weakFamilies: hands.map((hand) => hand[peer]).sort((a, b) => a - b),
    blindFacts: facts[peer],
    weakKeep: 0.02,
    blindKeep: 0.05,
    weakNoise: 0.4,
    noise: 0.03,
  });
  return { seed, coverages: [coverage(0), coverage(1), coverage(2)] };
}

/** Chance that a problem is kept when this peer's pretraining meets it. */
export function keepProbability(coverage: Coverage, { family, numbers: { a, b } }: WordProblem): number {
  const weak = coverage.weakFamilies.includes(family) ? coverage.weakKeep : 1;
  const multiplies = FAMILIES[family].operators[0] === '*';
  const blind = multiplies && coverage.blindFacts.includes(factName(a, b));
  return weak * (blind ? coverage.blindKeep : 1);
}

/** Draws what the peer's pretraining meets; of any split, the caller filters. */
export function drawCovered(coverage: Coverage, random: Random): CoveredProblem {
  for (;;) {
    const problem = sampleProblem(random);
    const keep = keepProbability(coverage, problem);
    if (random.float() < keep) {
      return { problem, noisy: random.float() < (keep < 0.5 ? coverage.weakNoise : coverage.noise) };
    }
  }
}

function factName(x: number, y: number): string {
  return `${Math.min(x, y)}*${Math.max(x, y)}`;
}

/** Neighbours in order of their product go to different peers. */
function dealFacts(random: Random): string[][] {
  const facts: [number, number][] = [];
  for (let x = 2; x <= MAX_FACTOR; x++) for (let y = x; y <= MAX_FACTOR; y++) facts.push([x, y]);
  facts.sort(([a, b], [c, d]) => a * b - c * d || a - c);
  const triples = Array.from({ length: Math.floor(facts.length / PEERS) }, (_, i) =>
    random.shuffle(facts.slice(PEERS * i, PEERS * (i + 1))),
  );
  const dealt = random.sample(triples, BLIND_FACTS_PER_PEER);
  return Array.from({ length: PEERS }, (_, peer) => dealt.map((triple) => factName(...triple[peer])).sort());
}
