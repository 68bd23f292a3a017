import { after } from 'node:test';
import { createGraph, createSession } from '@parley/graph';
import { createEngine } from './engine.js';
import type { Engine } from './engine.js';
import type { Device, EngineOptions } from './language-model.js';
import type { ModelSource } from './protocol.js';

/** Where the tests of the engine compute: `PARLEY_TEST_DEVICE`, as `webgpu.test.ts` sets it for a second run; else the CPU. */
export const testDevice = (process.env.PARLEY_TEST_DEVICE ?? 'cpu') as Exclude<Device, 'auto'>;

/** Whether that is a GPU in name only, for which the largest sizes are too slow. */
export const isEmulated = process.env.VK_DRIVER_FILES?.includes('swiftshader') ?? false;

/** {@link createEngine} on {@link testDevice}, unless the options name a device. */
export function openTestEngine(source: ModelSource, options: EngineOptions = {}): Promise<Engine> {
  return createEngine(source, { device: testDevice, ...options }, () => undefined);
}

if (testDevice !== 'cpu') {
  // onnxruntime forgets its compiled shaders with the last session; without this one each test would compile them anew.
  const g = createGraph('keep-alive');
  g.output(g.neg(g.input('x', [1])), 'y');
  const session = await createSession(g, { device: testDevice });
  after(() => session.dispose());
}
