import { decodeSafetensors, requireFinite } from '@parley/lm';

/**
 * Refuses weights that hold NaN or infinity: committed once, they would make every later answer of the peer worthless.
 * Gives way to the event loop between tensors.
 *
 * @throws LmError TENSOR_NOT_FINITE naming the tensor
 */
export async function requireFiniteWeights(weights: Uint8Array, source: string): Promise<void> {
  using reader = decodeSafetensors(weights, source);
  for (const name of reader.entries.keys()) {
    requireFinite(reader.readFloats(name), name, source);
    await new Promise(setImmediate);
  }
}
