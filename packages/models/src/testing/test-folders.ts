import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';

/** A tiny random model, from the engine's fixtures. */
export function modelFolder(name: 'llama' | 'llama-sharded'): string {
  return fileURLToPath(new URL(`../../../lm/fixtures/models/${name}`, import.meta.url));
}

/** A folder that is gone after the test. */
export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'parley-models-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
