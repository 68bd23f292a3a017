/** The engine's tests in one process, for `webgpu.test.ts`: what is compiled for one of them serves the others. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGraph, createSession, createTensor, toModelBytes } from '@parley/graph';
import { createPassRunner } from './pass-runner.js';
import { isEmulated, testDevice } from './test-device.js';

/** A graph whose product WebGPU has no kernel for, unless it is lowered. */
function fusedProduct() {
  const graph = createGraph('fused');
  const x = graph.input('x', [2, 2]);
  graph.output(graph.fusedMatMul(x, x, { transB: true, alpha: 0.5 }), 'y');
  return graph;
}
const x = createTensor('float32', [2, 2], Float32Array.of(1, 2, 3, 4));

test('a model whose operators would run on the CPU is refused at its first run, by their names', async () => {
  await using session = await createSession(toModelBytes(fusedProduct()), { device: testDevice });
  await assert.rejects(
    session.run({ x }),
    /^GraphError: device "webgpu" has no kernel for 1 of .* on the CPU: FusedMatMul × 1 \(FusedMatMul_0\); use device "cpu"/,
  );
});

test('a graph is built from operators that the device has', async () => {
  const runner = createPassRunner({ device: testDevice, threads: 1, spinning: false });
  const pass = await runner.pass('fused', () => ({ graph: fusedProduct(), parameters: [] }));
  const { y } = await pass.run({}, { x });
  assert.deepEqual([...(y.data as Float32Array)], [2.5, 5.5, 5.5, 12.5]);
  await runner.dispose();
});

test('it is the device that was asked for', () => {
  assert.equal(testDevice, 'webgpu');
  assert.equal(isEmulated, process.env.VK_DRIVER_FILES !== undefined);
});

await import('./engine.test.js');
await import('./golden.test.js');
await import('./language-model.test.js');
