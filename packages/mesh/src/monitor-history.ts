import type { GuardVerdict, MonitorMeasured, MonitoredPeer } from '@parley/contracts';
import { monitorSignals } from '@parley/pst';
import type { MonitorAnswers, PeerSignals } from '@parley/pst';

/**
 * What the measurements of a run say together, in the order in which they were taken. A function of durable messages
 * alone.
 */
export interface MonitorHistory {
  /** The version of a peer that was measured last. */
  versionOf(peer: string): bigint | undefined;
  /** What a peer was when it was first measured in the run, or `undefined` if it never was. */
  start(peer: string): PeerSignals | undefined;
  /** What it is by now, beside the peers that still take part. */
  now(peer: string, quarantined: ReadonlySet<string>): PeerSignals;
  /**
   * The newest version of a peer that no verdict speaks of and that agrees with the vote at the start no less
   * than its first one did: what has begun to fall without a verdict yet is no place to go back to. Its first version if
   * there is none.
   */
  lastGood(peer: string, verdicts: readonly GuardVerdict[]): bigint | undefined;
}

export function createMonitorHistory(measured: readonly MonitorMeasured[]): MonitorHistory {
  const answers = ({ answers: given }: MonitoredPeer): MonitorAnswers =>
    given.map(({ failure, finalAnswer, sampledAnswer, meanEntropy, completionTokens }) =>
      failure === undefined
        ? {
            answer: finalAnswer ?? null,
            sampled: sampledAnswer ?? null,
            meanEntropy,
            tokens: completionTokens,
          }
        : null,
    );
  const askedIn = ({ peers }: MonitorMeasured) => peers.filter(({ missing }) => missing === undefined);
  const of = (peer: string) => measured.flatMap((one) => askedIn(one).filter(({ name }) => name === peer));
  /** What each peer said last, up to and with the measurement at this place. */
  const upTo = (place: number) =>
    new Map(
      measured
        .slice(0, place + 1)
        .flatMap(askedIn)
        .map((peer) => [peer.name, answers(peer)] as const),
    );
  const initial = upTo(0);

  return {
    versionOf: (peer) => of(peer).at(-1)?.version,
    start(peer) {
      const first = measured.findIndex((one) => askedIn(one).some(({ name }) => name === peer));
      return first < 0 ? undefined : monitorSignals(peer, upTo(first), initial);
    },
    now(peer, quarantined) {
      const current = [...upTo(measured.length - 1)].filter(
        ([name]) => name === peer || !quarantined.has(name),
      );
      return monitorSignals(peer, new Map(current), initial);
    },
    lastGood(peer, verdicts) {
      const bad = new Set(verdicts.filter((verdict) => verdict.peer === peer).map(({ version }) => version));
      const places = measured.flatMap((one, place) =>
        askedIn(one).flatMap(({ name, version }) => (name === peer ? [{ place, version }] : [])),
      );
      const agreementAt = (place: number) => monitorSignals(peer, upTo(place), initial).frozenAgreement ?? 0;
      const [first] = places;
      if (first === undefined) return undefined;
      const start = agreementAt(first.place);
      const good = places.findLast(({ place, version }) => !bad.has(version) && agreementAt(place) >= start);
      return (good ?? first).version;
    },
  };
}
