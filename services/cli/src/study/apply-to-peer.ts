import type { ApplyUpdateResponse, WeightedUpdate } from '@parley/contracts';
import { isRetryable, retry } from '@parley/runtime';
import type { ConnectedPeer } from '../measure/peer-clients.js';

const DEADLINE_MS = 600_000;

/** Gives a peer an update past its mesh. A connection that breaks is tried again: an update takes effect once. */
export function applyToPeer(
  { client }: ConnectedPeer,
  update: WeightedUpdate,
  signal: AbortSignal,
): Promise<ApplyUpdateResponse> {
  const options = { attempts: 5, baseMs: 200, maxMs: 2000, signal, shouldRetry: isRetryable };
  return retry(options, () => client.applyUpdate({ update }, { deadlineMs: DEADLINE_MS, signal }));
}
