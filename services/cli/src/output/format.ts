import { relative, sep } from 'node:path';

/** `84.2 %` for 0.842; a dash for what was not measured. */
export function percent(share: number | undefined, digits = 1): string {
  return share === undefined || Number.isNaN(share) ? '–' : `${(share * 100).toFixed(digits)} %`;
}

/** `+2.4` for 0.024: a difference of shares in percentage points. */
export function points(difference: number | undefined, digits = 1): string {
  if (difference === undefined || Number.isNaN(difference)) return '–';
  const text = (difference * 100).toFixed(digits);
  if (Number(text) === 0) return `±${Math.abs(0).toFixed(digits)}`;
  return difference > 0 ? `+${text}` : text.replace('-', '−');
}

/** `[+0.9, +3.8]` in percentage points. */
export function pointsInterval(interval: readonly [number, number]): string {
  return `[${points(interval[0])}, ${points(interval[1])}]`;
}

/** `0.4 s`, `42 s`, `3 min 20 s`, `2 h 5 min`. */
export function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return whole % 60 === 0 ? `${minutes} min` : `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `1.2 M`, `430 k`: how many parameters, for people. */
export function count(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)} G`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  return value >= 1e4 ? `${Math.round(value / 1e3)} k` : String(value);
}

/** `1 round`, `2 rounds`. */
export function plural(value: number | bigint, noun: string): string {
  return `${value} ${noun}${value === 1 || value === 1n ? '' : 's'}`;
}

/** A path as a person would type it: relative to the folder they are in, if it lies inside. */
export function nearPath(path: string, cwd: string): string {
  const near = relative(cwd, path);
  return near === '' || near.startsWith(`..${sep}`) || near === '..' ? path : near;
}
