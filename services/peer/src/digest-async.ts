import { webcrypto } from 'node:crypto';

/**
 * SHA-256 (FIPS 180-4) as lower-case hexadecimal, computed off the main thread: hashing a few hundred megabytes in place
 * would keep gRPC and health waiting.
 */
export async function digestAsync(bytes: Uint8Array): Promise<string> {
  const digest = await webcrypto.subtle.digest('SHA-256', bytes);
  return Buffer.from(digest).toString('hex');
}
