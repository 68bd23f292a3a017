import jStat from 'jstat';

/** The value of one population. */
export interface PopulationValue {
  population: string;
  value: number;
}

/** A mean over populations. */
export interface Estimate {
  /** NaN without a population. */
  mean: number;
  /** Student's t over the populations, 95 %; null for fewer than two. */
  ci95: [low: number, high: number] | null;
  values: readonly PopulationValue[];
}

/** The mean of the populations with what other populations of the same kind might have given. */
export function estimate(values: readonly PopulationValue[]): Estimate {
  const n = values.length;
  const mean = meanOf(values.map(({ value }) => value));
  if (n < 2) return { mean, ci95: null, values };
  const squares = values.reduce((sum, { value }) => sum + (value - mean) ** 2, 0);
  const half = jStat.studentt.inv(0.975, n - 1) * Math.sqrt(squares / (n - 1) / n);
  return { mean, ci95: [mean - half, mean + half], values };
}

/** NaN for an empty list. */
export function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
