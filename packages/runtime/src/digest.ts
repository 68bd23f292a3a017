import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { ParleyError } from './errors.js';

/** SHA-256 of bytes (FIPS 180-4) as 64 lower-case hexadecimal digits. */
export function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** SHA-256 of a file's content, read in pieces. @throws Node's system error when it cannot be read */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** @throws ParleyError DIGEST_MISMATCH naming what has the wrong content, and both digests */
export function verifyDigest(bytes: Uint8Array, wanted: string, what: string): void {
  const found = sha256(bytes);
  if (found === wanted) return;
  throw new ParleyError(
    'DIGEST_MISMATCH',
    `${what} has SHA-256 ${found}, but ${wanted} is expected; it is damaged or was replaced, fetch or publish it again`,
    { details: { what, found, wanted } },
  );
}
