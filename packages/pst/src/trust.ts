import { heaviest, type Aggregator } from './ballot.js';
import { clusterTexts } from './cluster.js';
import { estimateReliability } from './dawid-skene.js';
import { logSumExp } from './numbers.js';
import { seedFrom } from './random.js';
import type { AnsweredQuestion } from './round.js';

/**
 * The trust vote [ours]: a peer's word counts by how reliable it is on questions like this one, and by how likely
 * it finds each candidate:
 *
 *     mass(a) = Σₖ odds(pₖ,cluster) · maxⱼ pₖ(response j | x),   j over the responses that carry a
 *
 * pₖ,cluster comes from agreement alone ({@link estimateReliability}). Every peer scores every response, its own
 * included. Margin: share of the total mass.
 */
export const trustVote: Aggregator = (questions, { trust }, seed) => {
  const clusters = clusterTexts(
    questions.map((question) => question.text),
    { clusters: trust.clusters, svdDimensions: trust.svdDimensions, seed: seedFrom(seed, 'trust') },
  );
  const reliability = estimateReliability(questions, clusters, trust);
  return questions.map((question, i) => {
    const odds = (peer: string): number => {
      const p = reliability.get(peer)?.[clusters[i]] ?? trust.priorReliability;
      return Math.log(p) - Math.log1p(-p);
    };
    return heaviest(question.responses, trustMass(question, odds));
  });
};

/** log mass of each answer: log Σₖ odds(k) · maxⱼ pₖ(response j | x). */
function trustMass(question: AnsweredQuestion, logOdds: (peer: string) => number): Map<string, number> {
  const { likelihoods, responses, promptId } = question;
  if (likelihoods === undefined) {
    throw new RangeError(
      `trust vote: prompt ${promptId} has no cross-peer likelihoods; have every peer score every response first`,
    );
  }
  const mass = new Map<string, number>();
  for (const answer of new Set(responses.map((response) => response.answer))) {
    if (answer === null) continue;
    const parts = likelihoods.map(({ peer, logLikelihoods }) => {
      const best = responses.reduce((top, response, j) => {
        const value = response.answer === answer ? (logLikelihoods[j] ?? -Infinity) : -Infinity;
        return value > top ? value : top;
      }, -Infinity);
      return logOdds(peer) + best;
    });
    mass.set(answer, logSumExp(parts.sort((a, b) => a - b)));
  }
  return mass;
}
