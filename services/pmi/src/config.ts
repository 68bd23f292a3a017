import { BUS_FIELDS } from '@parley/bus';
import { PEER_TIMING_FIELDS } from '@parley/mesh';
import { TLS_FIELDS, field } from '@parley/runtime';
import type { ConfigOf } from '@parley/runtime';

/** Settings of pmi, one environment variable each. */
export const PMI_FIELDS = {
  listen: field.listen('PARLEY_LISTEN', {
    description: 'host:port to serve gRPC on; port 0 takes a free one',
    fallback: { host: '127.0.0.1', port: 7401 },
  }),
  ...BUS_FIELDS,
  ...TLS_FIELDS,
  ...PEER_TIMING_FIELDS,
  concurrency: field.integer('PARLEY_CONCURRENCY', {
    description: 'runs whose rounds are scored at once',
    fallback: 4,
    min: 1,
    max: 64,
  }),
};

/** What {@link PMI_FIELDS} are read into. */
export type PmiConfig = ConfigOf<typeof PMI_FIELDS>;
