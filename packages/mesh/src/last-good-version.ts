import { STREAMS, filters, readFrom } from '@parley/bus';
import type { BlobReader, Bus } from '@parley/bus';
import { MonitorMeasuredSchema } from '@parley/contracts';
import { createMonitorHistory } from './monitor-history.js';
import { readVerdicts } from './stopped-peers.js';

/**
 * The version of a peer that the last run with a monitor pool would take it back to (see {@link createMonitorHistory});
 * `undefined` if no pool ever measured the peer.
 */
export async function lastGoodVersion(
  bus: Bus,
  blobs: BlobReader,
  peer: string,
): Promise<bigint | undefined> {
  let runId: string | undefined;
  let history = createMonitorHistory();
  const options = { stream: STREAMS.rounds, schema: MonitorMeasuredSchema, blobs };
  for await (const { message } of readFrom(bus, { ...options, filter: filters.monitored() })) {
    if (message.runId !== runId) {
      if (!message.peers.some(({ name }) => name === peer)) continue;
      runId = message.runId;
      history = createMonitorHistory();
    }
    history.add(message);
  }
  if (runId === undefined) return undefined;
  return history.lastGood(peer, await readVerdicts(bus, blobs, runId));
}
