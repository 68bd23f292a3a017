import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGraph, createTensor } from '@parley/graph';
import { createPassRunner } from './pass-runner.js';

test('calls that overlap share one compilation, and a failed one is tried again', async () => {
  const runner = createPassRunner({ device: 'cpu', threads: 1, spinning: false });
  let built = 0;
  const build = () => {
    built++;
    if (built === 1) throw new Error('not yet');
    const graph = createGraph('negative');
    graph.output(graph.neg(graph.input('x', [1])), 'y');
    return { graph, parameters: [] };
  };
  await assert.rejects(runner.pass('negative', build), /not yet/);
  const passes = await Promise.all([1, 2, 3].map(() => runner.pass('negative', build)));
  assert.equal(built, 2);
  for (const pass of passes) {
    const { y } = await pass.run({}, { x: createTensor('float32', [1], Float32Array.of(2)) });
    assert.deepEqual([...(y.data as Float32Array)], [-2]);
  }
  await runner.dispose();
});
