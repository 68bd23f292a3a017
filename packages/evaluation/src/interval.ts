import { createRandom } from '@parley/pst';

/** An estimate with its interval, as shares and not points. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

const Z95 = 1.959963984540054;

/** Wilson's 95 % interval of a share; [0, 1] when nothing was observed. */
export function wilsonInterval(successes: number, trials: number): Interval {
  if (trials === 0) return { low: 0, high: 1 };
  const p = successes / trials;
  const scale = 1 + Z95 ** 2 / trials;
  const centre = (p + Z95 ** 2 / (2 * trials)) / scale;
  const half = (Z95 / scale) * Math.sqrt((p * (1 - p)) / trials + Z95 ** 2 / (4 * trials ** 2));
  return { low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}

/** The difference between two measurements of the same questions. */
export interface PairedChange {
  /** Mean of after − before. */
  readonly delta: number;
  /** Percentile bootstrap interval of `delta`, 95 %. */
  readonly ci95: Interval;
  readonly wrongToRight: number;
  readonly rightToWrong: number;
}

/** Options of {@link pairedChange}. */
export interface BootstrapOptions {
  readonly seed: bigint;
  /** Default 2000. */
  readonly resamples?: number;
}

/**
 * Change from before to after over the same questions, resampled by question. Throws a RangeError when the lists
 * differ in length or are empty.
 */
export function pairedChange(
  before: readonly boolean[],
  after: readonly boolean[],
  options: BootstrapOptions,
): PairedChange {
  if (before.length !== after.length) {
    throw new RangeError(`paired change needs equal lists, not ${before.length} and ${after.length}`);
  }
  const differences = before.map((was, i) => Number(after[i]) - Number(was));
  return {
    ...meanChange(differences, options),
    wrongToRight: differences.filter((difference) => difference > 0).length,
    rightToWrong: differences.filter((difference) => difference < 0).length,
  };
}

/** A mean of differences with its percentile bootstrap interval, 95 %. */
export interface MeanChange {
  readonly delta: number;
  readonly ci95: Interval;
}

/**
 * Mean of per-question differences with its bootstrap interval: for a mean over peers, give each question's
 * difference averaged over the peers, so that what they share is resampled together.
 */
export function meanChange(differences: readonly number[], options: BootstrapOptions): MeanChange {
  return meanChanges([differences], options)[0];
}

/**
 * The same for many lists at once, which takes hardly longer than one: lists of one length share their resamples. Each
 * result is what {@link meanChange} gives.
 */
export function meanChanges(
  lists: readonly (readonly number[])[],
  { seed, resamples = 2000 }: BootstrapOptions,
): MeanChange[] {
  if (lists.some(({ length }) => length === 0)) throw new RangeError('a change needs at least one question');
  const means = lists.map(() => new Float64Array(resamples));
  for (const n of new Set(lists.map(({ length }) => length))) {
    const sameLength = lists.flatMap((list, i) => (list.length === n ? [{ list, means: means[i] }] : []));
    const random = createRandom(seed);
    const chosen = new Uint32Array(n);
    for (let r = 0; r < resamples; r++) {
      for (let i = 0; i < n; i++) chosen[i] = Math.floor((random.uint32() / 2 ** 32) * n);
      for (const { list, means: own } of sameLength) {
        let sum = 0;
        for (let i = 0; i < n; i++) sum += list[chosen[i]];
        own[r] = sum / n;
      }
    }
  }
  return lists.map((list, i) => {
    const ascending = means[i].sort();
    const at = (quantile: number): number =>
      ascending[Math.min(resamples - 1, Math.floor(quantile * resamples))];
    const delta = list.reduce((sum, difference) => sum + difference, 0) / list.length;
    return { delta, ci95: { low: at(0.025), high: at(0.975) } };
  });
}
