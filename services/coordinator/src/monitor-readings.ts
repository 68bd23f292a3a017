import type { PeerSignals } from '@parley/pst';

/** The signals that are shares, by the name that metrics give them. */
export const SHARES = {
  frozen_agreement: 'frozenAgreement',
  peer_agreement: 'peerAgreement',
  consistency: 'canaryConsistency',
  parseable: 'parseable',
} as const satisfies Record<string, keyof PeerSignals>;

/** What was measured of a peer, by names that say the unit. */
export function monitorReadings(signals: PeerSignals): { name: string; value: number }[] {
  const shares = Object.entries(SHARES).map(
    ([name, signal]) => [`monitor_${name}_ratio`, signals[signal]] as const,
  );
  const readings = [
    ...shares,
    ['monitor_entropy_nats', signals.meanEntropy],
    ['monitor_answer_tokens', signals.meanTokens],
  ] as const;
  return readings.flatMap(([name, value]) => (value === null ? [] : [{ name, value }]));
}
