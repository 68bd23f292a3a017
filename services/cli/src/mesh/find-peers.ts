import type { ChannelCredentials } from '@grpc/grpc-js';
import type { CoordinatorService } from '@parley/contracts';
import { ParleyError } from '@parley/runtime';
import type { Client, Env } from '@parley/runtime';
import { peerCredentials } from './access.js';
import { readMeshFile, stateFolder } from './state-folder.js';

/** Where a peer of a mesh answers, and with what it is spoken to. */
export interface FoundPeer {
  name: string;
  address: string;
  /** Plain text unless there are any. */
  credentials: ChannelCredentials | undefined;
  /** The active run that it learns in, or ''. */
  runId: string;
}

/**
 * The peers of a mesh that have an address, by name.
 *
 * @param state - folder of the mesh on this machine, whose peers speak plain text whatever the environment says
 */
export async function findPeers(
  coordinator: Pick<Client<typeof CoordinatorService>, 'listPeers'>,
  { state, env, signal }: { state: string; env: Env; signal: AbortSignal },
): Promise<FoundPeer[]> {
  const { peers } = await coordinator.listPeers({}, { signal });
  const local = (await readMeshFile(stateFolder(state)))?.peers ?? {};
  return peers.flatMap(({ announcement, runId }) => {
    const { name = '', address = '' } = announcement ?? {};
    if (address === '') return [];
    const credentials = local[name] === address ? undefined : peerCredentials(env);
    return { name, address, credentials, runId };
  });
}

/** The peer of that name. @throws ParleyError PEER_UNKNOWN naming those that there are */
export function peerNamed(peers: readonly FoundPeer[], name: string): FoundPeer {
  const found = peers.find((peer) => peer.name === name);
  if (found !== undefined) return found;
  const names = peers.map((peer) => peer.name).join(', ');
  throw new ParleyError('PEER_UNKNOWN', `No peer ${name} is up in this mesh; there are: ${names || 'none'}`, {
    details: { peer: name },
  });
}
