import type { Contestant, Turn } from './contestant.js';

/** Share of the machine that other programs may take in a turn that counts as undisturbed. */
const undisturbed = 0.05;

/** One contestant at one kind of work. */
export interface Entry {
  readonly contestant: Contestant;
  /** What it is told at its turn. */
  readonly line: string;
}

/** What an entry's turns gave. */
export interface Result {
  readonly name: string;
  readonly line: string;
  /** The least over all turns: whatever disturbs a turn only adds to it. */
  readonly minMs: number;
  /** Of the undisturbed turns, or of all when there are none. */
  readonly medianMs: number;
  readonly peakBytes: number;
  /** Whether as many turns as wanted were undisturbed; if not, the machine was busy with something else. */
  readonly clean: boolean;
  readonly turns: readonly Turn[];
}

/**
 * Lets the entries work in turn, after a round of warming up, until each has had `turns` undisturbed turns, or three times as many
 * rounds have passed.
 * @returns a result for each entry, in their order
 */
export async function compete(entries: readonly Entry[], turns: number): Promise<Result[]> {
  const taken = entries.map((): Turn[] => []);
  const cleanTurns = (of: readonly Turn[]): Turn[] => of.filter((t) => t.othersShare <= undisturbed);
  const enough = (): boolean => taken.every((of) => cleanTurns(of).length >= turns);
  for (let round = -1; round < 3 * turns && !enough(); round++) {
    for (const [i, { contestant, line }] of entries.entries()) {
      const turn = await contestant.turn(line);
      if (round >= 0) taken[i].push(turn);
    }
  }
  return entries.map(({ contestant, line }, i) => {
    const all = taken[i];
    const clean = cleanTurns(all);
    return {
      name: contestant.name,
      line,
      minMs: Math.min(...all.map(({ ms }) => ms)),
      medianMs: median((clean.length > 0 ? clean : all).map(({ ms }) => ms)),
      peakBytes: Math.max(...all.map((turn) => turn.peakBytes)),
      clean: clean.length >= turns,
      turns: all,
    };
  });
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2;
}
