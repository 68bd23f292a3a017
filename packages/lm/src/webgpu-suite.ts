/** The engine's tests in one process, for `webgpu.test.ts`: what is compiled for one of them serves the others. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGraph, createSession, createTensor, toModelBytes } from '@parley/graph';
import { createEngine } from './engine.js';
import type { Device } from './language-model.js';
import { createPassRunner } from './pass-runner.js';
import { testDevice } from './device-test-support.js';
import { toyConfig } from './test-models.js';

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
  const refusal =
    /^GraphError: device "webgpu" has no kernel for 1 of .* on the CPU: FusedMatMul × 1 \(FusedMatMul_0\); use device "cpu"/;
  await assert.rejects(session.run({ x }), refusal);
  await assert.rejects(session.run({ x }), refusal, 'and at every later one');
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
});

test('the same seeds draw the tokens that they draw on the CPU', async () => {
  const config = toyConfig('gemma2', { vocab_size: 5003 });
  const source = { kind: 'memory', config, seed: 4, weights: new Map() } as const;
  const items = Array.from({ length: 100 }, (_, seed) => ({ prompt: [5, 17, 4000], seed }));
  for (const topP of [1, 0.3]) {
    const draw = async (device: Device): Promise<number[]> => {
      const engine = await createEngine(source, { device }, () => undefined);
      const completions = await engine.generate(items, { maxTokens: 1, temperature: 1, topP }, {});
      await engine.close();
      return completions.map(({ tokens: [token] }) => token);
    };
    const [ours, expected] = [await draw(testDevice), await draw('cpu')];
    // A number that falls on the edge between two tokens may go either way.
    const same = ours.filter((token, i) => token === expected[i]).length;
    assert.ok(same >= 97, `${same} of 100 at topP ${topP}`);
    assert.ok(new Set(expected).size > 50);
  }
});

// Every gradient rule, against the CPU.
await import(new URL('../../autodiff/dist/rules.test.js', import.meta.url).href);
await import('./engine.test.js');
await import('./generation-scheduler.test.js');
await import('./golden.test.js');
await import('./language-model.test.js');
