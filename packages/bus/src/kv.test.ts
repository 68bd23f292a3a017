import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StringValueSchema } from '@bufbuild/protobuf/wkt';
import { openKv } from './kv.js';
import { BUCKETS } from './subjects.js';
import { setup, until } from './test-support.js';

test('writes are compared with the revision the writer saw', async () => {
  await using s = await setup();
  const table = await openKv(s.bus, BUCKETS.runs, StringValueSchema);
  assert.equal(await table.get('r1'), undefined);
  const one = await table.create('r1', { value: 'one' });
  await assert.rejects(table.create('r1', { value: 'again' }), {
    reason: 'REVISION_CONFLICT',
    code: 'ABORTED',
    message: /r1 in parley-runs is at revision 1, not 0; read it again and retry/,
  });
  const two = await table.update('r1', { value: 'two' }, one);
  await assert.rejects(table.update('r1', { value: 'stale' }, one), { reason: 'REVISION_CONFLICT' });
  const found = await table.get('r1');
  assert.deepEqual([found?.value.value, found?.revision], ['two', two]);
  await table.delete('r1');
  assert.equal(await table.get('r1'), undefined);
  await table.create('r1', { value: 'three' });
});

test('of many concurrent writers exactly one wins each revision', async () => {
  await using s = await setup();
  const table = await openKv(s.bus, BUCKETS.runs, StringValueSchema);
  const start = await table.create('r1', { value: '0' });
  const writes = Array.from({ length: 20 }, (_, i) => table.update('r1', { value: `${i}` }, start));
  const outcomes = await Promise.allSettled(writes);
  assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
});

test('keys are listed by filter, without the deleted ones', async () => {
  await using s = await setup();
  const table = await openKv(s.bus, BUCKETS.peers, StringValueSchema);
  assert.deepEqual(await table.list(), []);
  for (const key of ['mesh.ant', 'mesh.bee', 'other.cat', 'mesh.dog']) await table.put(key, { value: key });
  await table.put('mesh.ant', { value: 'new' });
  await table.delete('mesh.dog');
  const listed = await table.list('mesh.*');
  assert.deepEqual(
    listed.map(({ key, value }) => [key, value.value]),
    [
      ['mesh.bee', 'mesh.bee'],
      ['mesh.ant', 'new'],
    ],
  );
});

test('a watch tells the present, then every change, through a restart of the server', async () => {
  await using s = await setup();
  const table = await openKv(s.bus, BUCKETS.runs, StringValueSchema);
  await table.put('r1', { value: 'a' });
  const stop = new AbortController();
  const seen: string[] = [];
  const watching = (async () => {
    for await (const { key, value } of table.watch('>', stop.signal))
      seen.push(`${key}=${value?.value ?? 'deleted'}`);
  })();
  await until('the present', () => seen.length === 1);
  await table.put('r2', { value: 'b' });
  await until('the change', () => seen.length === 2);
  await s.server.restart();
  await table.put('r1', { value: 'c' });
  await table.delete('r2');
  await until('all changes', () => seen.length === 4);
  assert.deepEqual(seen, ['r1=a', 'r2=b', 'r1=c', 'r2=deleted']);
  stop.abort();
  await watching;
});

test('a value that is not of the type is refused by key and bucket', async () => {
  await using s = await setup();
  await s.bus.js.publish('$KV.parley-runs.bad', new Uint8Array([255]));
  const table = await openKv(s.bus, BUCKETS.runs, StringValueSchema);
  await assert.rejects(table.get('bad'), {
    reason: 'MESSAGE_INVALID',
    message: /value of bad in parley-runs is not a/,
  });
  await assert.rejects(table.list(), { reason: 'MESSAGE_INVALID' });
  const told: string[] = [];
  const lenient = await openKv(s.bus, BUCKETS.runs, StringValueSchema, {
    onInvalid: ({ message }) => told.push(message),
  });
  await lenient.put('good', { value: 'fine' });
  assert.deepEqual(
    (await lenient.list()).map(({ key }) => key),
    ['good'],
  );
  assert.match(told.join(), /value of bad/);
});

test('a bucket that is not there is named', async () => {
  await using s = await setup();
  await assert.rejects(openKv(s.bus, 'nope', StringValueSchema), {
    reason: 'STREAM_MISSING',
    message: /bucket nope/,
  });
});
