import type { GuardVerdict, MonitorMeasured, MonitoredAnswer } from '@parley/contracts';
import { monitorSignals } from '@parley/pst';
import type { MonitorAnswers, PeerSignals } from '@parley/pst';

/**
 * What the measurements of a run say together. A function of durable messages alone, in the order in which they were
 * added. Of all but the first measurement and each peer's last one it keeps two numbers a peer.
 */
export interface MonitorHistory {
  /** The next measurement. */
  add(measured: MonitorMeasured): void;
  /** The same so far; what is added to one is not in the other. */
  copy(): MonitorHistory;
  /** The version of a peer that was measured last. */
  versionOf(peer: string): bigint | undefined;
  /** What a peer was when it was first measured in the run, or `undefined` if it never was. */
  start(peer: string): PeerSignals | undefined;
  /** What it is by now, beside the peers that still take part. */
  now(peer: string, quarantined: ReadonlySet<string>): PeerSignals;
  /**
   * The newest version of a peer that no verdict speaks of and that agrees with the vote at the start no less than its
   * first one did: what has begun to fall without a verdict yet is no place to go back to. Its first version if there is
   * none.
   */
  lastGood(peer: string, verdicts: readonly GuardVerdict[]): bigint | undefined;
}

/** What is kept of a run's measurements. */
interface Kept {
  /** By name, the answers of the first measurement. */
  initial: ReadonlyMap<string, MonitorAnswers> | undefined;
  /** By name, the latest answers. */
  readonly latest: Map<string, MonitorAnswers>;
  readonly starts: Map<string, PeerSignals>;
  /** By name, oldest first, each version measured and its agreement with the vote at the start. */
  readonly versions: Map<string, { version: bigint; agreement: number }[]>;
}

export function createMonitorHistory(): MonitorHistory {
  return historyOf({ initial: undefined, latest: new Map(), starts: new Map(), versions: new Map() });
}

function historyOf(kept: Kept): MonitorHistory {
  const { latest, starts, versions } = kept;
  const signalsOf = (peer: string, current: ReadonlyMap<string, MonitorAnswers>) =>
    monitorSignals(peer, current, kept.initial ?? current);
  return {
    add({ peers }) {
      const asked = peers.filter(({ missing }) => missing === undefined);
      for (const { name, answers } of asked) latest.set(name, answers.map(toAnswer));
      kept.initial ??= new Map(latest);
      for (const { name, version } of asked) {
        const signals = signalsOf(name, latest);
        if (!starts.has(name)) starts.set(name, signals);
        const earlier = versions.get(name) ?? [];
        versions.set(name, [...earlier, { version, agreement: signals.frozenAgreement ?? 0 }]);
      }
    },
    copy: () =>
      historyOf({
        initial: kept.initial,
        latest: new Map(latest),
        starts: new Map(starts),
        versions: new Map(versions),
      }),
    versionOf: (peer) => versions.get(peer)?.at(-1)?.version,
    start: (peer) => starts.get(peer),
    now(peer, quarantined) {
      const current = [...latest].filter(([name]) => name === peer || !quarantined.has(name));
      return signalsOf(peer, new Map(current));
    },
    lastGood(peer, verdicts) {
      const bad = new Set(verdicts.filter((verdict) => verdict.peer === peer).map(({ version }) => version));
      const measured = versions.get(peer) ?? [];
      const [first] = measured;
      const good = measured.findLast(
        ({ version, agreement }) => !bad.has(version) && agreement >= first.agreement,
      );
      return (good ?? first)?.version;
    },
  };
}

function toAnswer({
  failure,
  finalAnswer,
  sampledAnswer,
  meanEntropy,
  completionTokens,
}: MonitoredAnswer): MonitorAnswers[number] {
  if (failure !== undefined) return null;
  return {
    answer: finalAnswer ?? null,
    sampled: sampledAnswer ?? null,
    meanEntropy,
    tokens: completionTokens,
  };
}
