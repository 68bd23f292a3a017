/** A figure that is to reach a target. */
export interface Row {
  /** Of the kind of work; the same over versions. */
  readonly id: string;
  readonly work: string;
  readonly ours: string;
  readonly peer: string;
  /** What the target speaks of: how many times as fast, a share, or a quantity. */
  readonly figure: number | null;
  readonly target: Target | null;
  readonly met: boolean | null;
  /** What a reader must know: that the machine was busy, why something is missing. */
  readonly note: string;
}

/** How a figure is judged. */
export interface Target {
  readonly kind: 'atLeast' | 'atMost';
  readonly value: number;
  readonly unit: '×' | 'share' | 'GB' | 's' | 'ms';
}

/** A row whose figure is known. */
export function judged(row: Omit<Row, 'met'> & { readonly figure: number }): Row {
  const { figure, target } = row;
  if (target === null) return { ...row, met: null };
  return { ...row, met: target.kind === 'atLeast' ? figure >= target.value : figure <= target.value };
}

/** A row that could not be measured. */
export function missing(id: string, work: string, target: Target | null, reason: string): Row {
  return { id, work, ours: '', peer: '', figure: null, target, met: null, note: reason };
}
