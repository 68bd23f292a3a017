import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { ParleyError, systemCode, verifyDigest, writeFileAtomic } from '@parley/runtime';
import { digestAsync } from './digest-async.js';
import type { WeightsStore } from './weights-store.js';

/** Weights as `<sha256>.safetensors` in a folder, a volume that the mesh shares for example. */
export function createFileWeightsStore(folder: string): WeightsStore {
  const pathOf = (sha256: string) => join(folder, `${sha256}.safetensors`);
  const referenceOf = (sha256: string, sizeBytes: number) => ({
    uri: pathToFileURL(pathOf(sha256)).href,
    sha256,
    sizeBytes: BigInt(sizeBytes),
  });
  return {
    referenceOf,
    async put(content) {
      const sha256 = await digestAsync(content);
      const isThere = await access(pathOf(sha256)).then(
        () => true,
        () => false,
      );
      // A file under its own digest's name was renamed there whole.
      if (!isThere) await writeFileAtomic(pathOf(sha256), content);
      return referenceOf(sha256, content.byteLength);
    },
    get: ({ uri, sha256 }) => readFileWeights(uri, sha256),
  };
}

/**
 * Reads weights from a `file:///` URI and verifies them.
 *
 * @throws ParleyError REQUEST_INVALID for another URI, BLOB_MISSING, DIGEST_MISMATCH
 */
export async function readFileWeights(uri: string, sha256: string): Promise<Uint8Array> {
  if (!uri.startsWith('file:///')) throw new ParleyError('REQUEST_INVALID', `"${uri}" is not a file:///path`);
  try {
    const content = await readFile(fileURLToPath(uri));
    verifyDigest(content, sha256, `The weights at ${uri}`);
    return content;
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    throw new ParleyError(
      'BLOB_MISSING',
      `There are no weights at ${uri}; check the path, and that its volume is mounted here`,
      {
        details: { uri },
        cause: error,
      },
    );
  }
}
