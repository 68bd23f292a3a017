import { isSameAnswer } from '@parley/evaluation';
import type { Graded } from './measurement.js';

/** What a vote looks at. */
export interface Ballot {
  /** In canonical form; null where the text holds none. */
  answer: string | null;
  /** The same as it was written. */
  written?: string;
  /** Natural log-probability of the whole text. */
  logProb: number;
}

/**
 * The answer most ballots agree on, however each is written (see `isSameAnswer`); a tie goes to the answer of the likeliest.
 * Ballots without an answer do not vote.
 *
 * @returns the likeliest ballot of the answer, and how many give it; undefined if none votes
 */
export function countVotes<T extends Ballot>(ballots: readonly T[]): { best: T; votes: number } | undefined {
  const found: { best: T; votes: number }[] = [];
  for (const ballot of ballots) {
    if (ballot.answer === null) continue;
    const group = found.find(({ best }) => agree(best, ballot));
    if (group === undefined) found.push({ best: ballot, votes: 1 });
    else {
      group.votes++;
      if (ballot.logProb > group.best.logProb) group.best = ballot;
    }
  }
  return found.sort((a, b) => b.votes - a.votes || b.best.logProb - a.best.logProb)[0];
}

/** The vote on graded answers: wrong if none of them votes, undefined if all of them failed. */
export function majorityVote(given: readonly Graded[]): Graded {
  const present = given.filter((one) => one !== undefined);
  // Where nobody votes every text is without an answer, and wrong: one stands for all.
  return countVotes(present)?.best ?? present[0];
}

function agree(a: Ballot, b: Ballot): boolean {
  if (a.answer === b.answer) return true;
  return isSameAnswer(a.written ?? a.answer ?? '', b.written ?? b.answer ?? '');
}
