import { percent, points, pointsInterval } from '../../output/format.js';
import type { Pair } from './compare-cells.js';
import type { Estimate } from './estimate.js';
import type { Worst } from './row-figures.js';

const NOTHING = '–';

/** `+2.4 [+0.9, +3.8]`. */
export function change({ mean, ci95 }: Estimate): string {
  return ci95 ? `${points(mean)} ${pointsInterval(ci95)}` : points(mean);
}

/** `−1.2 (p3 qwen)`. */
export function worst({ value, whose }: Worst): string {
  return whose === '' ? NOTHING : `${points(value)} (${whose})`;
}

/** `0.31 → 0.28`. */
export function pair({ was, is }: Pair<number>, digits: number): string {
  return Number.isNaN(was + is)
    ? NOTHING
    : `${was.toFixed(digits)} → ${is.toFixed(digits)}`.replaceAll('-', '−');
}

/** `71.2 → 78.3 %`, of shares. */
export function percentPair({ was, is }: Pair<number>): string {
  return Number.isNaN(was + is) ? NOTHING : `${(was * 100).toFixed(1)} → ${percent(is)}`;
}

/** `12.1 → 9.4`: shares in points. */
export function pointsPair({ was, is }: Pair<number>): string {
  return pair({ was: was * 100, is: is * 100 }, 1);
}

/** `53 %`, `−10 %`. */
export function ratio(share: number): string {
  return percent(share, 0).replace('-', '−');
}

/** `−57 %`: of what was there. */
export function relativeChange({ was, is }: Pair<number>): string {
  return was > 0 && !Number.isNaN(is) ? `${points((is - was) / was, 0)} %` : NOTHING;
}

/** A count or mean with at most one decimal; a dash for what was not measured. */
export function number(value: number, digits = 0): string {
  return Number.isNaN(value) ? NOTHING : value.toFixed(digits);
}
