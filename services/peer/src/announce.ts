import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { BUCKETS, openKv } from '@parley/bus';
import type { Bus } from '@parley/bus';
import { PeerAnnouncementSchema } from '@parley/contracts';

/** Tells the mesh under which address a peer serves, in place of what it told before. @throws ParleyError BUS_UNAVAILABLE */
export async function announce(bus: Bus, name: string, address: string, startTime: Date): Promise<void> {
  const peers = await openKv(bus, BUCKETS.peers, PeerAnnouncementSchema);
  await peers.put(name, { name, address, startTime: timestampFromDate(startTime) });
}
