import { SECONDS_BUCKETS, counter, createMetrics, gauge, histogram, onCollect } from '@parley/runtime';
import type { Log, Metrics, Registry } from '@parley/runtime';
import type { VersionedModel } from './versioned-model.js';

/** What is measured of a peer. */
export const PEER_METRICS = {
  info: gauge('parley_peer_info', 'Always 1; its labels say what the peer is', [
    'peer',
    'architecture',
    'device',
    'method',
  ]),
  version: gauge('parley_peer_version', 'Version being served'),
  ledger: gauge('parley_peer_ledger_updates', 'Updates in the ledger: each was applied exactly once'),
  queue: gauge('parley_peer_engine_queue_jobs', 'Jobs that wait for the engine or run on it'),
  busy: counter(
    'parley_peer_engine_busy_seconds_total',
    'Time in which the engine worked; its rate is the utilisation of the peer',
    ['activity'],
  ),
  tokens: counter(
    'parley_peer_tokens_total',
    'Tokens by what was done with them: prompt (read for an answer), completion, scored, trained',
    ['kind'],
  ),
  items: counter('parley_peer_items_total', 'Questions answered and spans scored, and those that failed', [
    'work',
    'outcome',
  ]),
  training: histogram('parley_peer_training_seconds', 'Time that the optimiser steps of an update took', {
    buckets: SECONDS_BUCKETS,
  }),
  swap: histogram(
    'parley_peer_swap_pause_seconds',
    'Time after training in which the peer answers nothing, because the new version is being committed to disk',
    { buckets: SECONDS_BUCKETS },
  ),
  update: histogram(
    'parley_peer_update_seconds',
    'Time from taking an update up until its version is durable and published',
    { buckets: SECONDS_BUCKETS },
  ),
  loss: gauge('parley_peer_training_loss_nats', 'Mean weighted cross-entropy of the last update, a token'),
  gradNorm: gauge(
    'parley_peer_training_gradient_norm',
    'Mean global L2 norm of the last update, before clipping',
  ),
  parity: gauge(
    'parley_peer_parity_nats',
    'Largest difference of a log-probability between generation and training at the last new version, a token',
  ),
  rejected: counter('parley_peer_updates_rejected_total', 'Updates that were refused for good', ['reason']),
} as const;

/** The metrics of a peer. */
export type PeerMetrics = Metrics<typeof PEER_METRICS>;

/** @param registry - where they are shown; nowhere unless given */
export function createPeerMetrics(registry?: Registry): PeerMetrics {
  return createMetrics(PEER_METRICS, registry);
}

/** Shows what a model is and which version it serves, whenever somebody looks. */
export function observeModel(model: VersionedModel, metrics: PeerMetrics, log: Log): void {
  const { head, info } = model;
  const [method = ''] = head.method.split(' ', 1);
  metrics.info.set({ peer: head.peer, architecture: info.architecture, device: info.device, method }, 1);
  onCollect(metrics.version, log, (gauge) => gauge.set(model.head.version));
  onCollect(metrics.ledger, log, (gauge) => gauge.set(model.head.ledger.updatesApplied));
  onCollect(metrics.queue, log, (gauge) => gauge.set(model.depth));
}
