import { clip, compareText, logSumExp } from './numbers.js';
import type { TrustRecipe } from './recipe.js';
import type { AnsweredQuestion } from './round.js';

/** Number of wrong answers over which a peer's mistakes are spread evenly. The study used 12 throughout. */
const WRONG_ALTERNATIVES = 12;
/** Keeps odds finite: no peer is believed more than 49 : 1. */
const MAX_RELIABILITY = 0.98;
const MIN_RELIABILITY = 1e-3;
const ITERATIONS = 30;

/** reliability.get(peer)[cluster]: estimated probability that the peer's answer is right. */
export type Reliability = ReadonlyMap<string, readonly number[]>;

/**
 * One-coin Dawid and Skene (1979) in each cluster: how often each peer is right, from agreement alone.
 *
 *     E: P(a | answers) ∝ Πₖ ( pₖ if peer k said a, else (1 − pₖ) / 12 )
 *     M: pₖ = ( Σ P(peer k's answer) + s·p₀ ) / ( n + s )      prior reliability p₀ with the weight of s questions
 *
 * A peer that gave no final answer counts as wrong; one that is absent from a question is left out of it.
 */
export function estimateReliability(
  questions: readonly AnsweredQuestion[],
  clusters: readonly number[],
  recipe: TrustRecipe,
): Reliability {
  const peers = [...new Set(questions.flatMap((q) => q.responses.map((r) => r.peer)))].sort(compareText);
  const clusterCount = 1 + clusters.reduce((top, cluster) => Math.max(top, cluster), -1);
  const order = questions
    .map((_, i) => i)
    .sort((a, b) => compareText(questions[a].promptId, questions[b].promptId));
  const reliability = new Map(
    peers.map((peer) => [peer, new Array<number>(clusterCount).fill(bound(recipe.priorReliability))]),
  );
  for (let step = 0; step < ITERATIONS; step++) {
    const right = new Map(peers.map((peer) => [peer, new Float64Array(clusterCount)]));
    const seen = new Map(peers.map((peer) => [peer, new Float64Array(clusterCount)]));
    for (const i of order) {
      const belief = posterior(questions[i], peers, (peer) => reliability.get(peer)![clusters[i]]);
      if (belief.size === 0) continue;
      for (const { peer, answer } of questions[i].responses) {
        seen.get(peer)![clusters[i]] += 1;
        right.get(peer)![clusters[i]] += answer === null ? 0 : belief.get(answer)!;
      }
    }
    const { priorReliability, priorStrength } = recipe;
    for (const peer of peers) {
      for (let c = 0; c < clusterCount; c++) {
        const n = seen.get(peer)![c] + priorStrength;
        const expected = right.get(peer)![c] + priorStrength * priorReliability;
        reliability.get(peer)![c] = bound(n > 0 ? expected / n : priorReliability);
      }
    }
  }
  return reliability;
}

/** P(answer is right) over the answers that were given, for one question. */
function posterior(
  question: AnsweredQuestion,
  peers: readonly string[],
  reliabilityOf: (peer: string) => number,
): Map<string, number> {
  const said = new Map(question.responses.map((response) => [response.peer, response.answer]));
  const present = peers.filter((peer) => said.has(peer));
  const candidates = [...new Set([...said.values()].filter((answer) => answer !== null))].sort(compareText);
  const logs = candidates.map((candidate) =>
    present.reduce((sum, peer) => {
      const p = reliabilityOf(peer);
      return sum + Math.log(said.get(peer) === candidate ? p : (1 - p) / WRONG_ALTERNATIVES);
    }, 0),
  );
  const total = logSumExp(logs);
  return new Map(candidates.map((candidate, i) => [candidate, Math.exp(logs[i] - total)]));
}

function bound(p: number): number {
  return clip(p, MIN_RELIABILITY, MAX_RELIABILITY);
}
