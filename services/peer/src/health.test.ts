import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { Client, credentials } from '@grpc/grpc-js';
import { startMesh, startTestPeer, temporaryFolder, until, updateOf } from './peer-test-support.js';

/** `grpc.health.v1.Health/Check` of the whole server, by hand: an empty request, and `status` as field 1 of the answer. */
function check(client: Client): Promise<number> {
  const identity = (bytes: Buffer) => bytes;
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      '/grpc.health.v1.Health/Check',
      identity,
      identity,
      Buffer.alloc(0),
      (error, answer) => {
        if (error) reject(error);
        else resolve(answer?.[1] ?? 0);
      },
    );
  });
}

const SERVING = 1;

test('health and Describe answer within 100 ms while the engine trains', async (t) => {
  const mesh = await startMesh(t);
  const ant = await startTestPeer(mesh, await temporaryFolder(t));
  const health = new Client(`127.0.0.1:${ant.peer.port}`, credentials.createInsecure());
  mesh.closers.add({ [Symbol.asyncDispose]: async () => health.close() });
  equal(await check(health), SERVING);

  const endless = updateOf(0, { training: { ...updateOf(0).training!, epochs: 1000 } });
  const controller = new AbortController();
  const training = ant.client
    .applyUpdate({ update: endless }, { signal: controller.signal })
    .catch(() => 'stopped');
  await until('training', async () => (await ant.client.describe({})).activity === 'training');
  const waits: number[] = [];
  for (let i = 0; i < 50; i++) {
    const beganMs = performance.now();
    equal(await check(health), SERVING);
    waits.push(performance.now() - beganMs);
    const describedMs = performance.now();
    equal((await ant.client.describe({})).activity, 'training');
    waits.push(performance.now() - describedMs);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  controller.abort();
  equal(await training, 'stopped');
  const slowest = Math.max(...waits);
  t.diagnostic(`slowest of ${waits.length}: ${slowest.toFixed(1)} ms`);
  ok(slowest < 100, `the slowest answer took ${slowest.toFixed(1)} ms`);
  ok((await ant.client.describe({})).utilization > 0.2);
});
