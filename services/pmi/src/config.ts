import { field } from '@parley/runtime';
import type { ConfigOf } from '@parley/runtime';

const LISTEN = /(?:\[[0-9a-fA-F:.]+\]|[^\s:[\]/]+):\d{1,5}/;

/** Settings of pmi, one environment variable each. */
export const PMI_FIELDS = {
  listen: field.string('PARLEY_LISTEN', {
    description: 'host:port of the gRPC server; port 0 picks a free one',
    fallback: '127.0.0.1:7401',
    pattern: LISTEN,
  }),
  natsUrl: field.string('PARLEY_NATS_URL', {
    description: 'address of nats-server',
    fallback: 'nats://127.0.0.1:4222',
  }),
  natsCredentialsFile: field.optional(
    field.path('PARLEY_NATS_CREDENTIALS_FILE', { description: 'NATS credentials (.creds)' }),
  ),
  concurrency: field.integer('PARLEY_CONCURRENCY', {
    description: 'runs whose rounds are scored at once',
    fallback: 4,
    min: 1,
    max: 64,
  }),
  callDeadlineMs: field.durationMs('PARLEY_SCORE_DEADLINE', {
    description: 'longest one Score call to a peer may take; it is repeated then',
    fallback: 600_000,
    min: 100,
  }),
  probeIntervalMs: field.durationMs('PARLEY_PEER_PROBE_INTERVAL', {
    description: 'pause between two probes of a peer that is being asked',
    fallback: 1000,
    min: 10,
  }),
  probeDeadlineMs: field.durationMs('PARLEY_PEER_PROBE_DEADLINE', {
    description: 'longest wait for the answer to a probe',
    fallback: 2000,
    min: 10,
  }),
  lostAfterMs: field.durationMs('PARLEY_PEER_LOST_AFTER', {
    description: 'silence after which a peer is named as lost',
    fallback: 5000,
    min: 10,
    max: 7000,
  }),
};

/** What {@link PMI_FIELDS} are read into. */
export type PmiConfig = ConfigOf<typeof PMI_FIELDS>;

/** The two halves of `host:port`, as {@link PMI_FIELDS} checked it. */
export function parseListen(listen: string): { host: string; port: number } {
  const colon = listen.lastIndexOf(':');
  return { host: listen.slice(0, colon), port: Number(listen.slice(colon + 1)) };
}
