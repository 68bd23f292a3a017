import { RunState } from '@parley/contracts';
import type { GuardVerdict } from '@parley/contracts';
import type { RunEvents } from '@parley/mesh';
import type { Log } from '@parley/runtime';

/** The verdicts of one run, those that are durable already among them. */
export interface VerdictBook {
  /** Oldest first. */
  readonly all: readonly GuardVerdict[];
  /**
   * Publishes a verdict and pauses the run if it says so; one that is there already changes nothing. The pause comes
   * first: a coordinator that ends in between pauses again rather than not at all.
   */
  enter(verdict: GuardVerdict): Promise<void>;
}

/** What a book needs. */
export interface VerdictBookParts {
  events: Pick<RunEvents, 'guard'>;
  setState: (state: RunState, reason: string) => Promise<void>;
  /** Told of every new verdict. */
  onVerdict: (verdict: GuardVerdict) => void;
  log: Log;
}

/** @param durable - the verdicts that are published already */
export function createVerdictBook(
  { events, setState, onVerdict, log }: VerdictBookParts,
  durable: readonly GuardVerdict[],
): VerdictBook {
  const idOf = ({ round, peer, guard, action }: GuardVerdict) => `${round}/${peer}/${guard}/${action}`;
  const all = [...durable];
  const known = new Set(all.map(idOf));
  return {
    all,
    async enter(verdict) {
      if (known.has(idOf(verdict))) return;
      if (verdict.action === 'pause-run') await setState(RunState.PAUSED, verdict.message);
      await events.guard(verdict);
      onVerdict(verdict);
      const { round, version, ...rest } = verdict;
      log.warn({ ...rest, round: String(round), version: version?.toString() }, 'a guard fired');
      known.add(idOf(verdict));
      all.push(verdict);
    },
  };
}
