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

/** The share of answers in whose text none was found; these count as wrong. NaN where nothing was answered. */
export function shareUnparseable(graded: readonly Graded[]): Share {
  return shareCorrect(graded.map((one) => one && { ...one, correct: one.answer === null }));
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
  /** The same without bias for k of 1, 2, 4, … up to all of them (Chen et al., 2021). */
  passAt: { k: number; value: number }[];
  /** Share of questions on which the majority of the samples is right. */
  majority: number;
  /** The same with its interval. */
  selfConsistency: Share;
  /** Share of samples that hold no answer; they count as wrong. */
  unparseable: number;
  questions: number;
}

/** Scores of a peer's samples; undefined if it has none. Questions with a failed sample take no part. */
export function sampledScores({ samples }: PeerMeasurement, perQuestion: number): SampledScores | undefined {
  const whole = samples.filter((list) => list.length === perQuestion);
  if (whole.length === 0 || perQuestion === 0) return undefined;
  const selfConsistency = shareCorrect(whole.map(majorityVote));
  const mean = (value: (list: readonly GradedAnswer[]) => number) =>
    whole.reduce((sum, list) => sum + value(list), 0) / whole.length;
  const right = (list: readonly GradedAnswer[]) => list.filter(({ correct }) => correct).length;
  return {
    accuracy: mean((list) => right(list) / list.length),
    passAtK: mean((list) => passAtK(list.length, right(list), perQuestion)),
    k: perQuestion,
    passAt: powersOfTwo(perQuestion).map((k) => ({
      k,
      value: mean((list) => passAtK(list.length, right(list), k)),
    })),
    majority: selfConsistency.value,
    selfConsistency,
    unparseable: mean((list) => list.filter(({ answer }) => answer === null).length / list.length),
    questions: whole.length,
  };
}

/** 1, 2, 4, … up to and with `last`. */
function powersOfTwo(last: number): number[] {
  const powers = Array.from({ length: Math.floor(Math.log2(last)) + 1 }, (_, exponent) => 2 ** exponent);
  return powers.at(-1) === last ? powers : [...powers, last];
}
