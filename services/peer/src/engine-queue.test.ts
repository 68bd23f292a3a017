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

test('shared jobs run beside one another; one that wants the engine alone waits for them, and later ones for it', async () => {
  const queue = createEngineQueue(() => 0);
  const events: string[] = [];
  const [a, b] = [deferred<void>(), deferred<void>()];
  const job = (name: string, end: Promise<void>) => async (): Promise<void> => {
    events.push(`${name} begins`);
    await end;
    events.push(`${name} ends`);
  };
  const jobs = [
    queue.share('generating', job('a', a.promise)),
    queue.share('scoring', job('b', b.promise)),
    queue.run('training', job('alone', Promise.resolve())),
    queue.share('scoring', job('later', Promise.resolve())),
  ];
  await new Promise(setImmediate);
  deepEqual(events, ['a begins', 'b begins']);
  equal(queue.activity, 'scoring');
  b.resolve();
  await new Promise(setImmediate);
  equal(queue.activity, 'generating');
  a.resolve();
  await Promise.all(jobs);
  deepEqual(events.slice(2), [
    'b ends',
    'a ends',
    'alone begins',
    'alone ends',
    'later begins',
    'later ends',
  ]);
});

test('a job that outlives others begins before those asked for later, which do not wait for its end', async () => {
  const queue = createEngineQueue(() => 0);
  const events: string[] = [];
  const gate = deferred<void>();
  const lasting = queue.share(
    'generating',
    async () => {
      events.push('lasting begins');
      await gate.promise;
      events.push('lasting ends');
    },
    { outlives: true },
  );
  await queue.run('training', async () => void events.push('trained'));
  deepEqual(events, ['lasting begins', 'trained']);
  let closed = false;
  const closing = queue.close().then(() => (closed = true));
  await new Promise(setImmediate);
  equal(closed, false);
  gate.resolve();
  await Promise.all([lasting, closing]);
  deepEqual(events, ['lasting begins', 'trained', 'lasting ends']);
});

test('time counts once, however many jobs share it', async () => {
  let now = 0;
  const queue = createEngineQueue(() => now);
  const gate = deferred<void>();
  const jobs = [1, 2].map(() => queue.share('generating', () => gate.promise));
  await new Promise(setImmediate);
  now = 10;
  gate.resolve();
  await Promise.all(jobs);
  now = 20;
  equal(queue.utilization, 0.5);
});
