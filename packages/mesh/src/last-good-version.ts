import { STREAMS, filters, readFrom } from '@parley/bus';
import type { BlobReader, Bus } from '@parley/bus';
import { GuardVerdictSchema, MonitorMeasuredSchema } from '@parley/contracts';
import { EVENT_TYPES } from './run-events.js';

/**
 * The newest version of a peer that the monitor pool of any run measured and that no verdict speaks of; `undefined` if
 * there is none.
 */
export async function lastGoodVersion(
  bus: Bus,
  blobs: BlobReader,
  peer: string,
): Promise<bigint | undefined> {
  const measured = new Set<bigint>();
  const measurements = { stream: STREAMS.rounds, schema: MonitorMeasuredSchema, blobs };
  for await (const { message } of readFrom(bus, { ...measurements, filter: filters.monitored() })) {
    const found = message.peers.find(({ name, missing }) => name === peer && missing === undefined);
    if (found !== undefined) measured.add(found.version);
  }
  const events = { stream: STREAMS.events, schema: GuardVerdictSchema, blobs };
  const filter = filters.events(undefined, EVENT_TYPES.guard);
  for await (const { message } of readFrom(bus, { ...events, filter })) {
    if (message.peer === peer && message.version !== undefined) measured.delete(message.version);
  }
  return [...measured].reduce<bigint | undefined>(
    (newest, version) => (newest === undefined || version > newest ? version : newest),
    undefined,
  );
}
