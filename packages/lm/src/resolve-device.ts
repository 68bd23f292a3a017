import { GraphError, assertDevice } from '@parley/graph';
import type { Device as SessionDevice } from '@parley/graph';
import type { Device } from './language-model.js';
import { LmError } from './lm-error.js';

/**
 * The device sessions run on: the one asked for, proven by running on it, or for `auto` the first of CUDA, WebGPU and CPU
 * that is there.
 * @throws LmError `EXECUTION_PROVIDER_UNAVAILABLE` when a device asked for by name cannot run here.
 */
export async function resolveDevice(wanted: Device): Promise<SessionDevice> {
  if (wanted !== 'auto') {
    await probe(wanted);
    return wanted;
  }
  for (const device of ['cuda', 'webgpu'] as const) {
    try {
      await probe(device);
      return device;
    } catch (error) {
      if (!(error instanceof LmError)) throw error;
    }
  }
  return 'cpu';
}

async function probe(device: SessionDevice): Promise<void> {
  try {
    await assertDevice(device);
  } catch (cause) {
    if (!(cause instanceof GraphError)) throw cause;
    throw new LmError(
      'EXECUTION_PROVIDER_UNAVAILABLE',
      `${cause.message}. Or ask for "cpu", or for "auto" to take what there is.`,
      { details: { device }, cause },
    );
  }
}
