import { field } from '@parley/runtime';
import type { ConfigOf } from '@parley/runtime';

const LISTEN = /(?:\[[0-9a-fA-F:.]+\]|[^\s:[\]/]+):\d{1,5}/;

/** Settings of the coordinator, one environment variable each. */
export const COORDINATOR_FIELDS = {
  listen: field.string('PARLEY_LISTEN', {
    description: 'host:port of the gRPC server; port 0 picks a free one',
    fallback: '127.0.0.1:7400',
    pattern: LISTEN,
  }),
  natsUrl: field.string('PARLEY_NATS_URL', {
    description: 'address of nats-server',
    fallback: 'nats://127.0.0.1:4222',
  }),
  natsCredentialsFile: field.optional(
    field.path('PARLEY_NATS_CREDENTIALS_FILE', { description: 'NATS credentials (.creds)' }),
  ),
  callDeadlineMs: field.durationMs('PARLEY_GENERATE_DEADLINE', {
    description:
      'longest one Generate, Score or Restore call to a peer may take; what is missing then is asked again',
    fallback: 600_000,
    min: 100,
  }),
  probeIntervalMs: field.durationMs('PARLEY_PEER_PROBE_INTERVAL', {
    description: 'pause between two probes of a peer of a run',
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
  leaseMs: field.durationMs('PARLEY_LEASE', {
    description: 'time after which another coordinator takes over the runs of one that is gone',
    fallback: 10_000,
    min: 500,
  }),
};

/** What {@link COORDINATOR_FIELDS} are read into. */
export type CoordinatorConfig = ConfigOf<typeof COORDINATOR_FIELDS>;

/** The two halves of `host:port`, as {@link COORDINATOR_FIELDS} checked it. */
export function parseListen(listen: string): { host: string; port: number } {
  const colon = listen.lastIndexOf(':');
  return { host: listen.slice(0, colon), port: Number(listen.slice(colon + 1)) };
}
