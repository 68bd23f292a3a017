import { RunState } from '@parley/contracts';
import type { GuardVerdict, VersionCommitted } from '@parley/contracts';
import type { PeerHandle } from '@parley/mesh';
import { ParleyError, isParleyError, isRetryable } from '@parley/runtime';
import type { Log } from '@parley/runtime';

/** What taking peers back needs. */
export interface TakeBackParts {
  runId: string;
  peers: readonly PeerHandle[];
  /** What was published of a version. */
  committed: (peer: string, version: bigint) => Promise<VersionCommitted | undefined>;
  setState: (state: RunState, reason: string) => Promise<void>;
  log: Log;
}

/**
 * Restores a peer to an earlier version as a verdict orders. Repeating it changes nothing. A peer that cannot be taken
 * back pauses the run, with the reason.
 *
 * @throws a failure that passes, or the signal's reason
 */
export async function takeBack(
  parts: TakeBackParts,
  verdict: GuardVerdict,
  version: bigint,
  signal: AbortSignal,
): Promise<void> {
  const { log, setState } = parts;
  const { peer, guard, message } = verdict;
  try {
    await restore(parts, verdict, version, signal);
    log.warn({ peer, version: String(version), guard }, 'a guard took the peer back');
  } catch (error) {
    signal.throwIfAborted();
    if (isRetryable(error)) throw error;
    const why = ParleyError.from(error).message;
    log.error({ err: error, peer }, 'a peer could not be taken back');
    await setState(RunState.PAUSED, `Peer ${peer} could not be rolled back (${message}): ${why}`);
  }
}

async function restore(
  { runId, peers, committed }: TakeBackParts,
  { peer, round, guard, message }: GuardVerdict,
  version: bigint,
  signal: AbortSignal,
): Promise<void> {
  const handle = peers.find(({ name }) => name === peer)!;
  const request = { requestId: `${runId}/${round}/${peer}`, reason: `guard ${guard}: ${message}` };
  try {
    await handle.restore({ ...request, source: { case: 'version', value: version } }, signal);
  } catch (error) {
    // It keeps few versions itself; the weights of all of them were stored when they were published.
    if (!isParleyError(error, 'VERSION_NOT_KEPT')) throw error;
    const weights = (await committed(peer, version))?.weights;
    if (weights === undefined) throw error;
    await handle.restore({ ...request, source: { case: 'weights', value: weights } }, signal);
  }
}
