import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

const PROGRAM = `
  import { createGraph, createSession, createTensor } from ${JSON.stringify(new URL('./index.js', import.meta.url).href)};
  const graph = createGraph('one');
  graph.output(graph.neg(graph.input('x', [1])), 'y');
  const session = await createSession(graph, { threads: 1, spinning: false });
  const { y } = await session.run({ x: createTensor('float32', [1], Float32Array.of(1)) });
  await session[Symbol.asyncDispose]();
  process.stdout.write(String(y.data[0]));`;

test('onnxruntime keeps no id of the device and reports to nobody', async (t) => {
  const home = await mkdtemp(join(tmpdir(), 'parley-home-'));
  t.after(() => rm(home, { recursive: true, force: true }));
  const args = ['--input-type=module', '-e', PROGRAM];
  const { stdout } = await promisify(execFile)(process.execPath, args, { env: { HOME: home } });
  assert.equal(stdout, '-1');
  assert.deepEqual(await readdir(home), []);
});
