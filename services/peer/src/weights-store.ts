import type { WeightsReference } from '@parley/contracts';

/** The fields of a {@link WeightsReference}. */
export type WeightsLocation = Pick<WeightsReference, 'uri' | 'sha256' | 'sizeBytes'>;

/** Where weights lie for others to read, by their content. */
export interface WeightsStore {
  /** Where content of this digest lies once it is put; nothing is read or written. */
  referenceOf(sha256: string, sizeBytes: number): WeightsLocation;
  /** Stores weights, durably; what is there already is left. @throws ParleyError BUS_UNAVAILABLE, DISK_FULL */
  put(content: Uint8Array): Promise<WeightsLocation>;
  /** Reads and verifies weights. @throws ParleyError BLOB_MISSING, DIGEST_MISMATCH, REQUEST_INVALID for a foreign URI */
  get(location: WeightsLocation): Promise<Uint8Array>;
}
