import { isSameAnswer } from '@parley/evaluation';
import type { Graded, GradedAnswer } from './measurement.js';

/**
 * The answer most of the given answers agree on, however each is written (see `isSameAnswer`); a tie goes to the answer of the most confident one, by log-probability.
 * Answers without a final answer do not vote; if none votes, the vote is wrong. Undefined if all of them failed.
 */
export function majorityVote(given: readonly Graded[]): Graded {
  const present = given.filter((one) => one !== undefined);
  if (present.length === 0) return undefined;
  const ballots: { votes: number; best: GradedAnswer }[] = [];
  for (const one of present) {
    if (one.answer === null) continue;
    const ballot = ballots.find(({ best }) => agree(best, one));
    if (ballot === undefined) ballots.push({ votes: 1, best: one });
    else {
      ballot.votes++;
      if (one.logProb > ballot.best.logProb) ballot.best = one;
    }
  }
  const [winner] = ballots.sort((a, b) => b.votes - a.votes || b.best.logProb - a.best.logProb);
  return winner?.best ?? { answer: null, correct: false, logProb: -Infinity, tokens: 0, meanEntropy: 0 };
}

function agree(a: GradedAnswer, b: GradedAnswer): boolean {
  if (a.answer === b.answer) return true;
  return isSameAnswer(a.written ?? a.answer ?? '', b.written ?? b.answer ?? '');
}
