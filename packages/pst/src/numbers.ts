/** log Σ exp(x), without overflow. −∞ for an empty list. */
export function logSumExp(values: readonly number[]): number {
  const top = Math.max(...values, -Infinity);
  if (!Number.isFinite(top)) return top;
  return top + Math.log(values.reduce((sum, value) => sum + Math.exp(value - top), 0));
}

/** Arithmetic mean; 0 for an empty list. */
export function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Middle value of the finite entries (mean of the middle two); null when there is none. */
export function median(values: readonly number[]): number | null {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  if (sorted.length === 0) return null;
  const middle = sorted.length >> 1;
  const high = sorted[middle];
  return sorted.length % 2 === 1 ? high : sorted[middle - 1] / 2 + high / 2;
}

/** Nearest value in [min, max]; NaN becomes `min`. */
export function clip(value: number, min: number, max: number): number {
  return value > min ? Math.min(value, max) : min;
}

/** 1 / (1 + e^−x), for every x, infinities included. */
export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** Orders strings by their UTF-16 code units, the same on every machine. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
