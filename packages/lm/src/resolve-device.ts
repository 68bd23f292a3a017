import { createGraph, createSession } from '@parley/graph';
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
  if (device === 'cpu') return;
  const g = createGraph('device-probe');
  const x = g.input('x', [2, 2]);
  g.output(g.matMul(x, x), 'y');
  try {
    await using session = await createSession(g, { device, refuseCpuFallback: true });
    void session;
  } catch (cause) {
    // The probe's own cause says why in one line; its message wraps it.
    const reason = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
    const [line] = (reason instanceof Error ? reason.message : String(reason)).split('\n');
    throw new LmError(
      'EXECUTION_PROVIDER_UNAVAILABLE',
      `device "${device}" cannot run here: ${line}. Ask for "cpu", or for "auto" to take what there is.`,
      { details: { device }, cause },
    );
  }
}
