import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ParleyError } from '@parley/runtime';
import type { LocalPeer } from './mesh-services.js';

/** The peers that come with Parley, in their order of answering. */
const NAMES = ['llama', 'qwen', 'gemma'] as const;
const FILES = ['config.json', 'model.safetensors', 'tokenizer.json'] as const;

/** Folder of the demo's peers and recipe in this installation. */
export const DEMO_FOLDER = fileURLToPath(new URL('../../../../deploy/demo', import.meta.url));

/** The three demo peers. @throws ParleyError CHECKPOINT_INVALID naming the file that is missing and how to get it */
export function demoPeers(folder = DEMO_FOLDER): LocalPeer[] {
  return NAMES.map((name) => {
    const peer = join(folder, name);
    const missing = FILES.find((file) => !existsSync(join(peer, file)));
    if (missing === undefined) return { name, folder: peer };
    throw new ParleyError(
      'CHECKPOINT_INVALID',
      `The demo's peer "${name}" is incomplete: ${join(peer, missing)} is missing. Check the repository out again, ` +
        'or train the three peers anew with `parley pretrain`',
      { details: { peer: name, file: join(peer, missing) } },
    );
  });
}
