import { create } from '@bufbuild/protobuf';
import { RoundSummarySchema } from '@parley/contracts';
import type { RoundGenerated, RoundScored, RoundSummary } from '@parley/contracts';
import { unanimity } from './peer-signals.js';

/** A round in a few numbers, after its answers. */
export function summarizeGenerated(round: RoundGenerated): RoundSummary {
  return create(RoundSummarySchema, {
    round: round.round,
    items: round.items.length,
    accepted: round.items.filter((item) => item.aggregate?.accepted).length,
    agreement: unanimity(round),
    missingPeers: round.peers.filter((peer) => peer.missing !== undefined).map((peer) => peer.name),
    seconds: round.seconds,
  });
}

/** The same after its scores. */
export function summarizeScored(generated: RoundSummary, scored: RoundScored): RoundSummary {
  const means = scored.peers.flatMap(({ peer, items }): [string, number][] => {
    const values = items.flatMap(({ normalizedPmi }) => normalizedPmi ?? []);
    return values.length === 0 ? [] : [[peer, values.reduce((sum, value) => sum + value, 0) / values.length]];
  });
  return create(RoundSummarySchema, {
    ...generated,
    seconds: scored.seconds,
    meanNormalizedPmi: Object.fromEntries(means),
  });
}
