import type { ExternalData } from '@parley/graph';
import type { BaseWeights } from './base-weights.js';

/** A file beside a graph that its initializers refer to. */
export interface ExternalFile {
  /** Its name, relative to the graph's own file. */
  readonly location: string;
  /** What it holds, one after another. */
  readonly parts: readonly Uint8Array[];
}

/** Matrices in 8 bits that lie in a file beside a graph instead of being fed to it. */
export interface StoredMatrices {
  /** Undefined for a parameter that is not among them. Values are [inputs, outputs]. */
  find(name: string): { readonly values: ExternalData; readonly scales: Float32Array } | undefined;
  readonly file: ExternalFile;
}

/** Lays the 8-bit matrices that `wants` picks out one after another. */
export function storedMatrices(base: BaseWeights, wants: (name: string) => boolean): StoredMatrices {
  const location = 'matrices.bin';
  const places = new Map<string, { values: ExternalData; scales: Float32Array }>();
  const parts: Uint8Array[] = [];
  let offsetBytes = 0;
  for (const [name, { values, scales }] of base.quantized) {
    if (!wants(name)) continue;
    places.set(name, { values: { location, offsetBytes, lengthBytes: values.byteLength }, scales });
    parts.push(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    offsetBytes += values.byteLength;
  }
  return { find: (name) => places.get(name), file: { location, parts } };
}
