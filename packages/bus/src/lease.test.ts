import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { acquireLease } from './lease.js';
import { setup, until } from './test-support.js';

const short = { topology: { leaseTtlMs: 1000 } };

test('one holder at a time; the next one waits, gets a higher token, and names who was before it', async () => {
  await using s = await setup(short);
  const first = await acquireLease(s.bus, { key: 'run.r1', holder: 'one' });
  await assert.rejects(acquireLease(s.bus, { key: 'run.r1', holder: 'two' }), {
    reason: 'LEASE_HELD',
    message: /The lease run\.r1 is held by one, and was not freed within 0 ms; stop it, or wait/,
  });
  await using other = await acquireLease(s.bus, { key: 'run.r2', holder: 'two' });
  assert.equal(other.signal.aborted, false);
  const waiting = acquireLease(s.bus, { key: 'run.r1', holder: 'two', waitMs: 5000 });
  await wait(1500);
  assert.equal(first.signal.aborted, false, 'renewed beyond its time to live');
  await first.release();
  await first.release();
  await using second = await waiting;
  assert.ok(second.fencingToken > first.fencingToken);
});

test('a holder that vanishes is succeeded when its lease expires', async () => {
  await using s = await setup(short);
  const doomed = await s.connect();
  const first = await acquireLease(doomed, { key: 'run.r1', holder: 'one' });
  const lost = once(first.signal, 'abort');
  await doomed.connection.close();
  const started = Date.now();
  await using second = await acquireLease(s.bus, { key: 'run.r1', holder: 'two', waitMs: 8000 });
  assert.ok(Date.now() - started < 4000);
  await lost;
  assert.equal((first.signal.reason as { reason: string }).reason, 'LEASE_LOST');
  assert.ok(second.fencingToken > first.fencingToken);
});

test('a holder cut off from the server knows that it lost before another can hold', async () => {
  await using s = await setup(short);
  const first = await acquireLease(s.bus, { key: 'run.r1', holder: 'one' });
  s.server.freeze();
  const started = Date.now();
  await once(first.signal, 'abort', { signal: AbortSignal.timeout(3000) });
  assert.ok(Date.now() - started < 1000, 'within the time to live');
  s.server.thaw();
  await first.release();
});

test('a lease outlives a short restart of the server', async () => {
  await using s = await setup({ topology: { leaseTtlMs: 3000 } });
  await using lease = await acquireLease(s.bus, { key: 'run.r1', holder: 'one' });
  await s.server.restart();
  await wait(3500);
  assert.equal(lease.signal.aborted, false);
});

test('a lease that someone else wrote over is lost', async () => {
  await using s = await setup(short);
  const lease = await acquireLease(s.bus, { key: 'run.r1', holder: 'one' });
  await s.bus.js.publish('$KV.parley-leases.run.r1', 'intruder');
  await until('the loss', () => lease.signal.aborted);
  assert.match((lease.signal.reason as Error).message, /run\.r1 of one is lost: intruder holds it/);
  await lease.release();
});
