import { ParleyError } from '@parley/runtime';
import type { LocalPeer } from '../mesh/mesh-services.js';
import type { PeerOption } from './peer-option.js';

/** The peers that this machine is to run. @throws ParleyError CONFIG_INVALID for one that is not a folder */
export function localPeers(options: readonly PeerOption[]): LocalPeer[] {
  return options.map((option) => {
    if (option.kind === 'folder') return { name: option.name, folder: option.folder };
    const given = option.kind === 'address' ? `${option.name}=${option.address}` : option.name;
    throw new ParleyError(
      'CONFIG_INVALID',
      `--peer ${given}: a mesh that is started here runs its peers from folders, NAME=FOLDER. A peer at an address ` +
        'belongs to the mesh whose nats-server it was started with: give that mesh with --coordinator ADDRESS, and ' +
        `the peer as --peer ${option.name}`,
    );
  });
}
