import { deepEqual, equal, rejects } from 'node:assert/strict';
import { test } from 'node:test';
import { deferred, isParleyError } from '@parley/runtime';
import { createEngineQueue } from './engine-queue.js';

test('jobs run one at a time, in the order asked for, past those that fail', async () => {
  const queue = createEngineQueue(() => 0);
  const events: string[] = [];
  const gate = deferred<void>();
  const first = queue.run('training', async () => {
    events.push('first begins');
    await gate.promise;
    events.push('first ends');
    throw new Error('first failed');
  });
  const second = queue.run('scoring', async () => void events.push('second'));
  await new Promise(setImmediate);
  equal(queue.activity, 'training');
  equal(queue.depth, 2);
  gate.resolve();
  await rejects(first, /first failed/);
  await second;
  deepEqual(events, ['first begins', 'first ends', 'second']);
  equal(queue.activity, 'idle');
  equal(queue.depth, 0);
});

test('a job that is given up while it waits never starts', async () => {
  const queue = createEngineQueue(() => 0);
  const gate = deferred<void>();
  const controller = new AbortController();
  const first = queue.run('generating', () => gate.promise);
  let started = false;
  const second = queue.run('generating', async () => void (started = true), controller.signal);
  controller.abort(new Error('gave up'));
  gate.resolve();
  await first;
  await rejects(second, /gave up/);
  equal(started, false);
});

test('utilization is the share of the time in which a job ran, the running one included', async () => {
  let now = 1000;
  const queue = createEngineQueue(() => now);
  equal(queue.utilization, 0);
  now += 60;
  const gate = deferred<void>();
  const job = queue.run('training', () => gate.promise);
  await new Promise(setImmediate);
  now += 20;
  equal(queue.utilization, 0.25);
  now += 20;
  gate.resolve();
  await job;
  now += 100;
  equal(queue.utilization, 0.2);
});

test('a closed queue finishes what it has and refuses the rest', async () => {
  const queue = createEngineQueue(() => 0);
  const gate = deferred<void>();
  let done = false;
  const job = queue.run('training', () => gate.promise).then(() => (done = true));
  const closing = queue.close();
  await rejects(
    queue.run('scoring', async () => 1),
    (error) => isParleyError(error, 'SHUTTING_DOWN'),
  );
  gate.resolve();
  await closing;
  await job;
  equal(done, true);
});
