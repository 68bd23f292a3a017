import { SECONDS_BUCKETS, counter, createMetrics, gauge, histogram } from '@parley/runtime';
import type { Metrics, Registry } from '@parley/runtime';

/** What is measured of the traffic with NATS. */
export const BUS_METRICS = {
  connected: gauge('parley_bus_connected', '1 while the connection to nats-server stands, else 0'),
  reconnects: counter(
    'parley_bus_reconnects_total',
    'Connections to nats-server that were made anew after a loss',
  ),
  publish: histogram(
    'parley_bus_publish_seconds',
    'Time until a message was durable, by stream and whether it was there before (stored, duplicate, failed)',
    { labels: ['stream', 'outcome'], buckets: SECONDS_BUCKETS },
  ),
  handle: histogram(
    'parley_bus_handle_seconds',
    'Time from the delivery of a message to the end of its handling (done, retried, poison)',
    { labels: ['consumer', 'outcome'], buckets: SECONDS_BUCKETS },
  ),
  lag: gauge(
    'parley_bus_consumer_lag_messages',
    'Messages of a consumer that are not handled yet, over all replicas',
    ['consumer'],
  ),
} as const;

/** The metrics of one connection. */
export type BusMetrics = Metrics<typeof BUS_METRICS>;

/** @param registry - where they are shown; nowhere unless given */
export function createBusMetrics(registry?: Registry): BusMetrics {
  return createMetrics(BUS_METRICS, registry);
}
