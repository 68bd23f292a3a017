import { STREAMS, readFrom, subjects } from '@parley/bus';
import type { BlobReader, Bus } from '@parley/bus';
import { GuardVerdictSchema } from '@parley/contracts';
import type { GuardVerdict } from '@parley/contracts';
import { EVENT_TYPES } from './run-events.js';

/** Every verdict of a run so far, oldest first. The verdicts on a round are durable before the round is. */
export async function readVerdicts(bus: Bus, blobs: BlobReader, runId: string): Promise<GuardVerdict[]> {
  const filter = subjects.event(runId, EVENT_TYPES.guard, 'coordinator');
  const found: GuardVerdict[] = [];
  const events = readFrom(bus, { stream: STREAMS.events, schema: GuardVerdictSchema, filter, blobs });
  for await (const { message } of events) found.push(message);
  return found;
}

/** What keeps a peer from learning. */
const STOPPING: ReadonlySet<string> = new Set(['stop-peer', 'rollback-peer', 'quarantine-peer']);

/** Names of the peers that verdicts keep from learning. */
export function stoppedBy(verdicts: Iterable<GuardVerdict>): Set<string> {
  const names = new Set<string>();
  for (const { action, peer } of verdicts) if (STOPPING.has(action)) names.add(peer);
  return names;
}

/** The peers that verdicts leave out altogether, by name, each with the verdict. */
export function quarantinedBy(verdicts: Iterable<GuardVerdict>): Map<string, GuardVerdict> {
  const found = new Map<string, GuardVerdict>();
  for (const verdict of verdicts) {
    if (verdict.action === 'quarantine-peer' && !found.has(verdict.peer)) found.set(verdict.peer, verdict);
  }
  return found;
}
