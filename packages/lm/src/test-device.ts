import { createEngine } from './engine.js';
import type { Engine } from './engine.js';
import type { Device, EngineOptions } from './language-model.js';
import type { ModelSource } from './protocol.js';

/** Where the tests of the engine compute: `PARLEY_TEST_DEVICE`, as `webgpu.test.ts` sets it for a second run; else the CPU. */
export const testDevice = (process.env.PARLEY_TEST_DEVICE ?? 'cpu') as Exclude<Device, 'auto'>;

/** {@link createEngine} on {@link testDevice}, unless the options name a device. */
export function openTestEngine(source: ModelSource, options: EngineOptions = {}): Promise<Engine> {
  return createEngine(source, { device: testDevice, ...options }, () => undefined);
}
