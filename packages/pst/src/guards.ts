import { logSumExp } from './numbers.js';
import type { GuardAction, GuardRecipe } from './recipe.js';
import type { PeerResponse } from './round.js';

/** The guard that fired, named by its field in the recipe. */
export type GuardName =
  | 'independentSupport'
  | 'maxAgreement'
  | 'minAgreement'
  | 'entropyDrop'
  | 'frozenAgreementDrop'
  | 'lengthDrift'
  | 'parseableDrop'
  | 'canaryDrop';

/** What must follow from a verdict. All that name a peer imply that it learns no more. */
export type VerdictAction =
  'none' | 'skip-item' | 'stop-peer' | 'rollback-peer' | 'quarantine-peer' | 'pause-run';

/** A guard that fired, with its numbers. Guards that did not fire leave no verdict. */
export interface GuardVerdict {
  readonly guard: GuardName;
  /** Null when the verdict is about a question and not about a peer. */
  readonly peer: string | null;
  /** What was measured, in the unit of the threshold. NaN when a signal itself is not a number. */
  readonly value: number;
  readonly threshold: number;
  /** The signal at the start of the run, where the guard compares with it. */
  readonly baseline: number | null;
  readonly action: VerdictAction;
  /** The same in a sentence. */
  readonly message: string;
}

/** Label-free measurements of one peer on unlabelled questions. Null: not measured, so not judged. */
export interface PeerSignals {
  /** Mean entropy of the next-token distributions, nats per token. */
  readonly meanEntropy: number | null;
  /** Mean tokens of a response. */
  readonly meanTokens: number | null;
  /** Share of responses with a final answer. */
  readonly parseable: number | null;
  /** Share of monitor questions on which the peer agrees with another current peer. */
  readonly peerAgreement: number | null;
  /** Share of monitor questions on which it agrees with the vote of the peers as they were at the start. */
  readonly frozenAgreement: number | null;
  /** The same by question: null where there is no such vote, or no answer. Compared pair by pair. */
  readonly frozenMatches: readonly (boolean | null)[] | null;
  /** Share of monitor questions that it answers the same way greedily and at random. */
  readonly canaryConsistency: number | null;
}

/**
 * Guards on one question: the two-sided gate on agreement (share of the responses that carry the most frequent
 * answer) and independent support for `answer`. Null when the question may train.
 */
export function gateQuestion(
  guards: GuardRecipe,
  responses: readonly PeerResponse[],
  answer: string,
): GuardVerdict | null {
  const skip = (guard: GuardName, value: number, threshold: number, message: string): GuardVerdict => {
    return { guard, peer: null, value, threshold, baseline: null, action: 'skip-item', message };
  };
  const agreement = agreementOf(responses);
  const share = percent(agreement);
  if (guards.maxAgreement !== null && agreement > guards.maxAgreement) {
    return skip(
      'maxAgreement',
      agreement,
      guards.maxAgreement,
      `${share} of the answers agree: nothing to learn`,
    );
  }
  if (guards.minAgreement !== null && agreement < guards.minAgreement) {
    return skip(
      'minAgreement',
      agreement,
      guards.minAgreement,
      `only ${share} of the answers agree: a guess`,
    );
  }
  if (!guards.independentSupport) return null;
  const support = responses.filter((response) => independentAnswerOf(response) === answer).length;
  if (support > 0) return null;
  return skip('independentSupport', 0, 1, `no answer given alone supports "${answer}"`);
}

/** Share of the responses that carry the most frequent final answer; 0 when none has one. */
export function agreementOf(responses: readonly PeerResponse[]): number {
  const counts = new Map<string, number>();
  for (const { answer } of responses) if (answer !== null) counts.set(answer, (counts.get(answer) ?? 0) + 1);
  return responses.length === 0 ? 0 : Math.max(0, ...counts.values()) / responses.length;
}

/** The answer a peer gave without seeing any other, or null when there is none. */
function independentAnswerOf(response: PeerResponse): string | null {
  return response.saw.length === 0 ? response.answer : (response.independentAnswer ?? null);
}

/**
 * Collapse signals of one peer against the start of the run. Every guard that fires gives a verdict; a signal that
 * is NaN fires its guard, since it cannot show that the peer is well. Rising agreement alone is no signal of
 * success or failure: it can only be asked for beside falling agreement with the frozen peers.
 */
export function judgePeer(
  guards: GuardRecipe,
  peer: string,
  baseline: PeerSignals,
  current: PeerSignals,
): GuardVerdict[] {
  const action = ACTIONS[guards.action];
  const verdicts: GuardVerdict[] = [];
  const judge = (
    guard: GuardName,
    signal: Exclude<keyof PeerSignals, 'frozenMatches'>,
    threshold: number | null,
    change: (from: number, to: number) => number,
    text: (from: number, to: number) => string,
  ): void => {
    const [from, to] = [baseline[signal], current[signal]];
    if (threshold === null || from === null || to === null) return;
    const value = change(from, to);
    if (value <= threshold) return;
    const message = `${peer}: ${text(from, to)} (guard ${guard} at ${threshold})`;
    verdicts.push({ guard, peer, value, threshold, baseline: from, action, message });
  };
  const fall = (from: number, to: number): number => from - to;
  const shares = (name: string) => (from: number, to: number) => `${name} ${percent(from)} → ${percent(to)}`;
  const numbers = (name: string) => (from: number, to: number) =>
    `${name} ${from.toFixed(3)} → ${to.toFixed(3)}`;

  judge('entropyDrop', 'meanEntropy', guards.entropyDrop, relativeFall, numbers('entropy (nats per token)'));
  judge('lengthDrift', 'meanTokens', guards.lengthDrift, relativeDrift, numbers('response length (tokens)'));
  judge('parseableDrop', 'parseable', guards.parseableDrop, fall, shares('responses with an answer'));
  judge('canaryDrop', 'canaryConsistency', guards.canaryDrop, fall, shares('canary consistency'));
  const change = pairedChange(baseline.frozenMatches ?? [], current.frozenMatches ?? []);
  const p = signTest(change.lost, change.gained);
  const rises = guards.agreementRise === null || !(rise(baseline, current) <= guards.agreementRise);
  const certain = guards.significance === null || p < guards.significance;
  if (rises && certain) {
    judge(
      'frozenAgreementDrop',
      'frozenAgreement',
      guards.frozenAgreementDrop,
      fall,
      (from, to) =>
        `${shares('agreement with the vote at the start')(from, to)}, ` +
        `${change.lost} questions lost and ${change.gained} won, p = ${p.toPrecision(2)}`,
    );
  }
  return verdicts;
}

const ACTIONS = {
  report: 'none',
  stop: 'stop-peer',
  rollback: 'rollback-peer',
  quarantine: 'quarantine-peer',
  pause: 'pause-run',
} as const satisfies Record<GuardAction, VerdictAction>;

/** On how many questions a peer left a vote that it agreed with, and joined one that it did not. */
function pairedChange(
  before: readonly (boolean | null)[],
  after: readonly (boolean | null)[],
): { lost: number; gained: number } {
  const count = (from: boolean, to: boolean): number =>
    before.filter((agreed, question) => agreed === from && after[question] === to).length;
  return { lost: count(true, false), gained: count(false, true) };
}

/**
 * One-sided exact sign test (McNemar's, exact): the probability of at least `lost` heads in `lost + gained` throws of a
 * fair coin. 1 when nothing changed.
 */
export function signTest(lost: number, gained: number): number {
  const throws = lost + gained;
  // log C(n, k) − n log 2, from k = 0 upwards; in logarithms, since 2⁻ⁿ of a large pool is below every double.
  let logTerm = -throws * Math.LN2;
  const tail: number[] = [];
  for (let heads = 0; heads <= throws; heads++) {
    if (heads >= lost) tail.push(logTerm);
    logTerm += Math.log(throws - heads) - Math.log(heads + 1);
  }
  return Math.min(1, Math.exp(logSumExp(tail)));
}

function rise(baseline: PeerSignals, current: PeerSignals): number {
  if (baseline.peerAgreement === null || current.peerAgreement === null) return 0;
  return current.peerAgreement - baseline.peerAgreement;
}

/** (from − to) / from; a signal that starts at 0 cannot fall. */
function relativeFall(from: number, to: number): number {
  return from === 0 && Number.isFinite(to) ? 0 : (from - to) / from;
}

function relativeDrift(from: number, to: number): number {
  if (from === 0) return to === 0 ? 0 : Infinity;
  return Math.abs(to - from) / from;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
