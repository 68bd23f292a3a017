import type { PeerSignals } from './guards.js';
import { mean } from './numbers.js';

/** What a peer said to one monitor question. */
export interface MonitorAnswer {
  /** Final answer, given greedily; null when there was none in the text. */
  readonly answer: string | null;
  /** Final answer of a sample; null when there was none in the text. */
  readonly sampled: string | null;
  /** Of the greedy answer: nats per token. */
  readonly meanEntropy: number;
  /** Tokens of the greedy answer. */
  readonly tokens: number;
}

/** One entry a monitor question, in their order; null where the peer failed to answer. */
export type MonitorAnswers = readonly (MonitorAnswer | null)[];

/**
 * What the monitor questions tell of one peer, without labels. It is held against the vote of the peers as they were at
 * the start, its own among them: what it knew that only one of two others did too shows nowhere else, and a peer that
 * takes over another's mistakes even agrees with the others more often. The price is a lead at the start over whatever it
 * says later, since questions that nobody agreed on count for nothing; small beside a collapse, but a reason to let
 * `frozenAgreementDrop` tolerate some points.
 *
 * @param current - by name, the latest answers of every peer that takes part
 * @param initial - by name, the answers at the start of the run
 */
export function monitorSignals(
  peer: string,
  current: ReadonlyMap<string, MonitorAnswers>,
  initial: ReadonlyMap<string, MonitorAnswers>,
): PeerSignals {
  const own = current.get(peer) ?? [];
  const given = own.filter((answer) => answer !== null);
  const others = [...current].flatMap(([name, answers]) => (name === peer ? [] : [answers]));
  const votes = frozenVotes(peer, initial, own.length);
  const frozenMatches = own.map((said, question) => {
    const vote = votes[question];
    return said === null || vote === null ? null : said.answer === vote;
  });
  const agreeing = own.filter(
    (said, question) =>
      said?.answer !== null &&
      said?.answer !== undefined &&
      others.some((answers) => answers[question]?.answer === said.answer),
  );
  const measured = <T>(values: readonly T[], value: (one: T) => number): number | null =>
    values.length === 0 ? null : mean(values.map(value));
  return {
    meanEntropy: measured(given, (said) => said.meanEntropy),
    meanTokens: measured(given, (said) => said.tokens),
    parseable: measured(given, (said) => Number(said.answer !== null)),
    peerAgreement: given.length === 0 ? null : agreeing.length / given.length,
    frozenAgreement: measured(
      frozenMatches.filter((match) => match !== null),
      Number,
    ),
    frozenMatches,
    canaryConsistency: measured(given, (said) =>
      Number(said.answer !== null && said.answer === said.sampled),
    ),
  };
}

/**
 * By question, the answer that more than half of the peers gave at the start, or null. A peer has no vote against itself
 * where only one other answered: the two would agree by definition.
 */
function frozenVotes(
  peer: string,
  initial: ReadonlyMap<string, MonitorAnswers>,
  questions: number,
): (string | null)[] {
  return Array.from({ length: questions }, (_, question) => {
    const given = [...initial].flatMap(([name, answers]) => {
      const said = answers[question];
      return said ? [{ name, answer: said.answer }] : [];
    });
    const voters = given.length > 2 ? given : given.filter(({ name }) => name !== peer);
    const counts = new Map<string, number>();
    for (const { answer } of voters) if (answer !== null) counts.set(answer, (counts.get(answer) ?? 0) + 1);
    const found = [...counts].find(([, count]) => 2 * count > voters.length);
    return found?.[0] ?? null;
  });
}
