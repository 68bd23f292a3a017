import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { BytesValueSchema, StringValueSchema } from '@bufbuild/protobuf/wkt';
import { countMessages, readLast } from './read.js';
import { STREAMS, subjects } from './subjects.js';
import { setup, text, until } from './test-support.js';

test('a message is a CloudEvent in binary mode, with what was passed through', async () => {
  await using s = await setup({ publisher: { now: () => new Date(0) } });
  const subject = subjects.generated('r1', 0);
  const published = await s.publisher.publishOnce(StringValueSchema, text('hello'), {
    subject,
    id: 'r1.0.generated',
    headers: { traceparent: '00-ab-cd-01' },
  });
  assert.deepEqual(published, { stream: 'ROUNDS', sequence: 1, duplicate: false });
  const last = await readLast(s.bus, {
    stream: STREAMS.rounds,
    subject,
    schema: StringValueSchema,
    blobs: s.blobs,
  });
  assert.equal(last?.message.value, 'hello');
  assert.equal(last?.id, 'r1.0.generated');
  assert.deepEqual(last?.headers, {
    'ce-specversion': '1.0',
    'ce-id': 'r1.0.generated',
    'ce-source': 'parley/test',
    'ce-type': 'google.protobuf.StringValue',
    'ce-time': '1970-01-01T00:00:00.000Z',
    'content-type': 'application/protobuf',
    traceparent: '00-ab-cd-01',
    'Nats-Msg-Id': 'r1.0.generated',
    'Nats-Expected-Last-Subject-Sequence': '0',
  });
});

test('the stream refuses a second message on a subject, whatever its id and whatever the window', async () => {
  await using s = await setup();
  await s.bus.jsm.streams.update(STREAMS.rounds, { duplicate_window: 100_000_000 });
  const subject = subjects.scored('r1', 7);
  const first = await s.publisher.publishOnce(StringValueSchema, text('first'), { subject, id: 'a' });
  const again = await s.publisher.publishOnce(StringValueSchema, text('first'), { subject, id: 'a' });
  await wait(250);
  const late = await s.publisher.publishOnce(StringValueSchema, text('first'), { subject, id: 'a' });
  const other = await s.publisher.publishOnce(StringValueSchema, text('other'), { subject, id: 'b' });
  for (const refused of [again, late, other]) assert.deepEqual(refused, { ...first, duplicate: true });
  assert.equal(await countMessages(s.bus, STREAMS.rounds, subject), 1);
});

test('appending follows the last message known, and names a conflict', async () => {
  await using s = await setup();
  const subject = subjects.prompts('r1');
  const one = await s.publisher.append(StringValueSchema, text('1'), { subject, id: 'p1', after: 0 });
  const two = await s.publisher.append(StringValueSchema, text('2'), {
    subject,
    id: 'p2',
    after: one.sequence,
  });
  await assert.rejects(
    s.publisher.append(StringValueSchema, text('x'), { subject, id: 'p3', after: one.sequence }),
    {
      reason: 'REVISION_CONFLICT',
      message: /parley\.prompts\.r1 already ends with message 2, another than p3/,
    },
  );
  const repeated = await s.publisher.append(StringValueSchema, text('2'), {
    subject,
    id: 'p2',
    after: one.sequence,
  });
  assert.deepEqual(repeated, { ...two, duplicate: true });
  const free = await s.publisher.append(StringValueSchema, text('3'), { subject, id: 'p3' });
  assert.equal(free.sequence, 3);
});

test('a server killed in the middle of publishing loses nothing and doubles nothing', async () => {
  await using s = await setup();
  const count = 300;
  let confirmed = 0;
  const publishing = Array.from({ length: count }, (_, round) =>
    s.publisher
      .publishOnce(StringValueSchema, text(`${round}`), {
        subject: subjects.generated('r1', round),
        id: `g${round}`,
      })
      .then(() => confirmed++),
  );
  await until('some confirmations', () => confirmed > 20);
  await s.server.restart();
  await s.server.restart();
  await Promise.all(publishing);
  assert.equal(confirmed, count);
  assert.equal(await countMessages(s.bus, STREAMS.rounds, '>'), count);
  const { state } = await s.bus.jsm.streams.info(STREAMS.rounds);
  assert.deepEqual([state.messages, state.num_subjects], [count, count]);
});

test('an unconfirmed publish fails by its deadline, naming message and subject, and can be repeated', async () => {
  await using s = await setup();
  await s.server.kill();
  const subject = subjects.generated('r1', 1);
  const publish = (deadlineMs: number) =>
    s.publisher.publishOnce(StringValueSchema, text('x'), { subject, id: 'g1', deadlineMs });
  const started = Date.now();
  await assert.rejects(publish(1500), {
    reason: 'BUS_UNAVAILABLE',
    message: /did not confirm.*publishing g1 to parley\.rounds\.generated\.r1\.1/,
  });
  assert.ok(Date.now() - started < 2500);
  await s.server.restart();
  assert.equal((await publish(10_000)).sequence, 1);
  assert.equal(await countMessages(s.bus, STREAMS.rounds, subject), 1);
});

test('a full stream refuses results and keeps what it has', async () => {
  await using s = await setup({ topology: { maxBytes: 4000 } });
  const publish = (round: number) =>
    s.publisher.publishOnce(StringValueSchema, text('x'.repeat(1000)), {
      subject: subjects.generated('r1', round),
      id: `g${round}`,
      deadlineMs: 300,
    });
  await publish(0);
  await publish(1);
  await assert.rejects(
    async () => {
      for (let round = 2; round < 6; round++) await publish(round);
    },
    {
      reason: 'DISK_FULL',
      message: /no room.*publishing g\d to parley\.rounds\.generated\.r1\.\d/,
    },
  );
  assert.equal(await countMessages(s.bus, STREAMS.rounds, subjects.generated('r1', 0)), 1);
});

test('a payload that does not fit travels by claim check, and is verified', async () => {
  await using s = await setup({ server: { maxPayloadBytes: 300_000 } });
  const value = new Uint8Array(700_000).map((_, i) => (i * 31) % 251);
  const subject = subjects.update('ant', 'r1', 3);
  const publish = () =>
    s.publisher.publishOnce(BytesValueSchema, create(BytesValueSchema, { value }), { subject, id: 'u3' });
  assert.deepEqual([(await publish()).duplicate, (await publish()).duplicate], [false, true]);
  const read = () =>
    readLast(s.bus, { stream: STREAMS.updates, subject, schema: BytesValueSchema, blobs: s.blobs });
  const last = await read();
  assert.deepEqual(last?.message.value, value);
  assert.match(last?.headers['ce-dataref'] ?? '', /^nats-object:\/\/parley-blobs\/messages\/[0-9a-f]{64}$/);
  assert.equal(Number(last?.headers['ce-databytes']) > 700_000, true);

  const key = last?.headers['ce-dataref']?.replace('nats-object://parley-blobs/', '') ?? '';
  await s.blobs.put(key, Buffer.from('tampered'));
  await assert.rejects(read(), { reason: 'DIGEST_MISMATCH', message: new RegExp(`${key} has SHA-256`) });
});

test('a message of another type or with other bytes is refused by name', async () => {
  await using s = await setup();
  const subject = subjects.generated('r1', 0);
  await s.publisher.publishOnce(
    BytesValueSchema,
    { value: new Uint8Array([255, 255]) },
    { subject, id: 'x' },
  );
  const options = { stream: STREAMS.rounds, schema: StringValueSchema, blobs: s.blobs };
  await assert.rejects(readLast(s.bus, { ...options, subject }), {
    reason: 'MESSAGE_INVALID',
    message: /is a google\.protobuf\.BytesValue, but google\.protobuf\.StringValue is expected/,
  });
  const foreign = subjects.generated('r1', 1);
  await s.bus.js.publish(foreign, new Uint8Array([255, 255]));
  await assert.rejects(readLast(s.bus, { ...options, subject: foreign }), {
    reason: 'MESSAGE_INVALID',
    message: /message 2 on parley\.rounds\.generated\.r1\.1 is not a google\.protobuf\.StringValue/,
  });
});
