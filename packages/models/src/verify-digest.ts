import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Digest } from './remote-model.js';

const HASHES = { sha256: 'sha256', 'git-blob': 'sha1', md5: 'md5' } as const;

/** The digest of a file's content, read in pieces. @throws Node's system error when it cannot be read */
export async function digestOf(path: string, algorithm: Digest['algorithm']): Promise<string> {
  const hash = createHash(HASHES[algorithm]);
  // As `git hash-object` takes it: the type and the size stand before the content.
  if (algorithm === 'git-blob') hash.update(`blob ${(await stat(path)).size}\0`);
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 }))
    hash.update(chunk as Buffer);
  return hash.digest('hex');
}
