import { BUCKETS, openKv } from '@parley/bus';
import type { Bus } from '@parley/bus';
import { PeerAnnouncementSchema } from '@parley/contracts';
import type { PeerAnnouncement } from '@parley/contracts';

/** Who has announced itself, kept up to date. */
export interface PeerDirectory {
  get(name: string): PeerAnnouncement | undefined;
  /** By name. */
  list(): PeerAnnouncement[];
  /** Reads all announcements now, so that one made just before is known. */
  refresh(): Promise<void>;
}

/**
 * Follows the announcements of peers until the signal is aborted.
 *
 * @param fail - told if following ends for another cause
 */
export async function followPeerDirectory(
  bus: Bus,
  signal: AbortSignal,
  fail: (error: unknown) => void,
): Promise<PeerDirectory> {
  const table = await openKv(bus, BUCKETS.peers, PeerAnnouncementSchema, {
    onInvalid: (err) => bus.log.error({ err }, 'an announcement cannot be decoded; passed over'),
  });
  const found = new Map<string, PeerAnnouncement>();
  /** A peer may write under its own name alone, and so speak for itself alone. */
  const learn = (key: string, value: PeerAnnouncement) => {
    if (key === value.name) found.set(key, value);
    else
      bus.log.error({ key, name: value.name }, 'a peer announces itself by the name of another; passed over');
  };
  const refresh = async (): Promise<void> => {
    for (const { key, value } of await table.list()) learn(key, value);
  };
  await refresh();
  const follow = async (): Promise<void> => {
    for await (const { key, value } of table.watch('>', signal)) {
      if (value === undefined) found.delete(key);
      else learn(key, value);
    }
  };
  follow().catch((error: unknown) => {
    if (!signal.aborted) fail(error);
  });
  return {
    refresh,
    get: (name) => found.get(name),
    list: () => [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
  };
}
