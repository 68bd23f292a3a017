import { BUS_FIELDS } from '@parley/bus';
import { PEER_TIMING_FIELDS } from '@parley/mesh';
import { field } from '@parley/runtime';
import type { ConfigOf } from '@parley/runtime';

/** Settings of the coordinator, one environment variable each. */
export const COORDINATOR_FIELDS = {
  listen: field.listen('PARLEY_LISTEN', {
    description: 'host:port to serve gRPC on; port 0 takes a free one',
    fallback: { host: '127.0.0.1', port: 7400 },
  }),
  ...BUS_FIELDS,
  ...PEER_TIMING_FIELDS,
  leaseMs: field.durationMs('PARLEY_LEASE', {
    description:
      'time after which another coordinator takes over the runs of one that is gone; counts where NATS has no leases yet',
    fallback: 10_000,
    min: 500,
  }),
};

/** What {@link COORDINATOR_FIELDS} are read into. */
export type CoordinatorConfig = ConfigOf<typeof COORDINATOR_FIELDS>;
