import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '@parley/runtime';
import { readMeshFile, stateFolder } from '../mesh/state-folder.js';
import type { StateFolder } from '../mesh/state-folder.js';

/** Demos whose mesh is kept beside the one that starts: enough to look back, few enough for any disk. */
const KEPT = 2;

/**
 * Removes what the meshes of older demos left (weights and streams, about 100 MB each); their records stay,
 * and so does a mesh that is up.
 */
export async function forgetOldDemos(state: StateFolder): Promise<void> {
  const runs = state.run('');
  const demos = (await entries(runs)).filter((name) => name.startsWith('demo-')).sort();
  const old = demos.slice(0, -KEPT);
  for (const name of old) {
    const mesh = join(runs, name, 'mesh');
    const isUp = (await readMeshFile(stateFolder(mesh))) !== undefined;
    if (!isUp) await rm(mesh, { recursive: true, force: true });
  }
}

async function entries(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}
