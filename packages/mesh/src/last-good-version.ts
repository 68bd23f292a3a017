import { STREAMS, filters, readFrom } from '@parley/bus';
import type { BlobReader, Bus } from '@parley/bus';
import { MonitorMeasuredSchema } from '@parley/contracts';
import type { MonitorMeasured } from '@parley/contracts';
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
  let measured: MonitorMeasured[] = [];
  const options = { stream: STREAMS.rounds, schema: MonitorMeasuredSchema, blobs };
  for await (const { message } of readFrom(bus, { ...options, filter: filters.monitored() })) {
    if (message.runId === measured[0]?.runId) measured.push(message);
    else if (message.peers.some(({ name }) => name === peer)) measured = [message];
  }
  const [first] = measured;
  if (first === undefined) return undefined;
  return createMonitorHistory(measured).lastGood(peer, await readVerdicts(bus, blobs, first.runId));
}
