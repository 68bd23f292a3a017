import { SECONDS_BUCKETS, counter, createMetrics, histogram } from '@parley/runtime';
import type { Metrics, Registry } from '@parley/runtime';
import type { RoundScored } from '@parley/contracts';

/** What is measured of a scorer. */
export const PMI_METRICS = {
  round: histogram('parley_pmi_round_seconds', 'Time to score a round', { buckets: SECONDS_BUCKETS }),
  pmi: histogram(
    'parley_pmi_normalized_pmi_nats',
    'Normalised pointwise mutual information of the answers with their target, a token',
    { labels: ['peer'], buckets: [-2, -1, -0.5, -0.2, -0.1, -0.05, 0, 0.05, 0.1, 0.2, 0.5, 1, 2] },
  ),
  weight: histogram('parley_pmi_weight', "Weights of the updates' items", {
    labels: ['peer'],
    buckets: [0, 0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 5],
  }),
  unscored: counter('parley_pmi_items_unscored_total', 'Questions of a peer that got no PMI', ['peer']),
  updates: counter('parley_pmi_updates_published_total', 'Updates published', ['peer']),
} as const;

/** The metrics of a scorer. */
export type PmiMetrics = Metrics<typeof PMI_METRICS>;

/** @param registry - where they are shown; nowhere unless given */
export function createPmiMetrics(registry?: Registry): PmiMetrics {
  return createMetrics(PMI_METRICS, registry);
}

/** Measures a round that was scored here. */
export function measureScores(metrics: PmiMetrics, scored: RoundScored): void {
  metrics.round.observe(scored.seconds);
  for (const { peer, items } of scored.peers) {
    for (const { normalizedPmi, weight } of items) {
      if (normalizedPmi === undefined) metrics.unscored.inc({ peer });
      else metrics.pmi.observe({ peer }, normalizedPmi);
      if (weight > 0) metrics.weight.observe({ peer }, weight);
    }
  }
}
