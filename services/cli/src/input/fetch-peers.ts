import { fetchModel } from './fetch-model.js';
import type { FetchCli } from './fetch-model.js';
import type { PeerOption } from './peer-option.js';

/**
 * Brings the models that peers are given by URI to this machine, one after the other, before anything is started with them.
 *
 * @throws ParleyError as `obtainModel`
 */
export async function fetchPeers(cli: FetchCli, options: readonly PeerOption[]): Promise<PeerOption[]> {
  const fetched: PeerOption[] = [];
  for (const option of options) {
    if (option.kind !== 'model') {
      fetched.push(option);
      continue;
    }
    const { folder } = await fetchModel(cli, option.uri, {});
    fetched.push({ kind: 'folder', name: option.name, folder });
  }
  return fetched;
}
