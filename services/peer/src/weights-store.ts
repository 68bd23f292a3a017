import { digestAsync } from './digest-async.js';
import type { BlobRef, BlobStore } from '@parley/bus';
import type { WeightsReference } from '@parley/contracts';

/** The fields of a {@link WeightsReference}. */
export type WeightsLocation = Pick<WeightsReference, 'uri' | 'sha256' | 'sizeBytes'>;

/** Where a peer's weights lie for others to read. */
export interface WeightsStore {
  /** Where the weights of a version with this digest lie once they are put; nothing is read or written. */
  referenceOf(sha256: string, sizeBytes: number): WeightsLocation;
  /** Stores the weights of a version under their digest, durably; what is there already is left. */
  put(content: Uint8Array): Promise<WeightsLocation>;
  /** Stores a snapshot under the name its caller chose. @throws ParleyError NAME_INVALID besides what a store throws */
  putSnapshot(name: string, content: Uint8Array): Promise<WeightsLocation>;
  /** Reads and verifies weights. @throws ParleyError BLOB_MISSING, DIGEST_MISMATCH, BUS_UNAVAILABLE */
  get(location: WeightsLocation): Promise<Uint8Array>;
}

/** The weights of one peer in a blob store. */
export function createWeightsStore(peer: string, blobs: BlobStore): WeightsStore {
  const keyOf = (sha256: string) => `weights/${sha256}.safetensors`;
  return {
    referenceOf: (sha256, sizeBytes) => ({
      uri: blobs.uriPrefix + keyOf(sha256),
      sha256,
      sizeBytes: BigInt(sizeBytes),
    }),
    async put(content) {
      return locationOf(await blobs.put(keyOf(await digestAsync(content)), content));
    },
    async putSnapshot(name, content) {
      // Two peers may be asked for a snapshot by the same request.
      return locationOf(await blobs.put(`snapshots/${peer}/${name}.safetensors`, content));
    },
    get: ({ uri, sha256 }) => blobs.get(uri, sha256),
  };
}

function locationOf({ uri, digest, bytes }: BlobRef): WeightsLocation {
  return { uri, sha256: digest, sizeBytes: BigInt(bytes) };
}
