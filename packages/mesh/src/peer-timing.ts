import { field } from '@parley/runtime';
import type { ConfigOf } from '@parley/runtime';

/**
 * Settings of every service that calls peers; spread them into its own fields. A lost peer is named after at most
 * `lostAfterMs` + `probeIntervalMs` + `probeDeadlineMs`: the upper bounds keep that within 10 s.
 */
export const PEER_TIMING_FIELDS = {
  callDeadlineMs: field.durationMs('PARLEY_PEER_CALL_DEADLINE', {
    description:
      'longest one Generate, Score or Restore call to a peer may take; what is missing then is asked again',
    fallback: 600_000,
    min: 100,
  }),
  probeIntervalMs: field.durationMs('PARLEY_PEER_PROBE_INTERVAL', {
    description: 'pause between two probes of a peer at work',
    fallback: 1000,
    min: 10,
    max: 1000,
  }),
  probeDeadlineMs: field.durationMs('PARLEY_PEER_PROBE_DEADLINE', {
    description: 'longest wait for the answer to a probe',
    fallback: 2000,
    min: 10,
    max: 2000,
  }),
  lostAfterMs: field.durationMs('PARLEY_PEER_LOST_AFTER', {
    description: 'silence after which a peer is named as lost',
    fallback: 5000,
    min: 10,
    max: 7000,
  }),
};

/** Milliseconds that calls to peers may take; see {@link PEER_TIMING_FIELDS}. */
export type PeerTiming = ConfigOf<typeof PEER_TIMING_FIELDS>;
