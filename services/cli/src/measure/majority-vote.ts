import type { Graded, GradedAnswer } from './measurement.js';

/**
 * The answer most of the given answers agree on; a tie goes to the answer of the most confident one, by log-probability.
 * Answers without a final answer do not vote; if none votes, the vote is wrong. Undefined if all of them failed.
 */
export function majorityVote(given: readonly Graded[]): Graded {
  const present = given.filter((one) => one !== undefined);
  if (present.length === 0) return undefined;
  const ballots = new Map<string, { votes: number; best: GradedAnswer }>();
  for (const one of present) {
    if (one.answer === null) continue;
    const { votes, best } = ballots.get(one.answer) ?? { votes: 0, best: one };
    ballots.set(one.answer, { votes: votes + 1, best: one.logProb > best.logProb ? one : best });
  }
  const [winner] = [...ballots.values()].sort((a, b) => b.votes - a.votes || b.best.logProb - a.best.logProb);
  return winner?.best ?? { answer: null, correct: false, logProb: -Infinity, tokens: 0, meanEntropy: 0 };
}
