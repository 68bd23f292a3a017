import { pairedChange, passAtK, wilsonInterval } from '@parley/evaluation';
import type { PairedChange } from '@parley/evaluation';
import type { Graded, GradedAnswer, Measurement, PeerMeasurement } from './measurement.js';
import { majorityVote } from './majority-vote.js';

/** A share of right answers among those that were given. */
export interface Share {
  value: number;
  /** Wilson, 95 %. */
  ci95: [number, number];
  n: number;
}

/** The share of right answers; failed ones take no part. NaN where nothing was answered. */
export function shareCorrect(graded: readonly Graded[]): Share {
  const given = graded.filter((one) => one !== undefined);
  const right = given.filter(({ correct }) => correct).length;
  const { low, high } = wilsonInterval(right, given.length);
  return { value: right / given.length, ci95: [low, high], n: given.length };
}

/** The change between two measurements of the same questions, over those that were answered both times. */
export function change(
  before: readonly Graded[],
  after: readonly Graded[],
  seed: bigint,
): PairedChange & { n: number } {
  const pairs = before.flatMap((was, index) => {
    const is = after[index];
    return was && is ? [[was.correct, is.correct] as const] : [];
  });
  const paired = pairedChange(
    pairs.map(([was]) => was),
    pairs.map(([, is]) => is),
    { seed },
  );
  return { ...paired, n: pairs.length };
}

/** The mean over the peers of the generator–verifier gap; undefined if nothing was sampled. */
export function meanGap({ peers }: Measurement): number | undefined {
  const gaps = peers.map(({ gap }) => gap?.gap).filter((gap) => gap !== undefined);
  return gaps.length === 0 ? undefined : gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
}

/** What sampling several answers a question shows. */
export interface SampledScores {
  /** Share of right samples. */
  accuracy: number;
  /** Chance that one of k samples is right, k being all of them. */
  passAtK: number;
  k: number;
  /** Share of questions on which the majority of the samples is right. */
  majority: number;
  questions: number;
}

/** Scores of a peer's samples; undefined if it has none. Questions with a failed sample take no part. */
export function sampledScores({ samples }: PeerMeasurement, perQuestion: number): SampledScores | undefined {
  const whole = samples.filter((list) => list.length === perQuestion);
  if (whole.length === 0 || perQuestion === 0) return undefined;
  const mean = (value: (list: readonly GradedAnswer[]) => number) =>
    whole.reduce((sum, list) => sum + value(list), 0) / whole.length;
  const right = (list: readonly GradedAnswer[]) => list.filter(({ correct }) => correct).length;
  return {
    accuracy: mean((list) => right(list) / list.length),
    passAtK: mean((list) => passAtK(list.length, right(list), perQuestion)),
    k: perQuestion,
    majority: mean((list) => Number(majorityVote(list)?.correct ?? false)),
    questions: whole.length,
  };
}
