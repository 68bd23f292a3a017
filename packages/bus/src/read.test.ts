import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StringValueSchema } from '@bufbuild/protobuf/wkt';
import { headers } from '@nats-io/transport-node';
import { countMessages, readFrom, readLast } from './read.js';
import { STREAMS, filters, subjects } from './subjects.js';
import { setup, text, until } from './test-support.js';
import type { Setup } from './test-support.js';

async function publishPrompts(s: Setup, run: string, from: number, to: number): Promise<void> {
  for (let i = from; i < to; i++) {
    await s.publisher.append(StringValueSchema, text(`${run}${i}`), {
      subject: subjects.prompts(run),
      id: `${run}${i}`,
    });
  }
}

const prompts = (s: Setup) => ({ stream: STREAMS.prompts, schema: StringValueSchema, blobs: s.blobs });

test('a read that is not live ends after the last message, and starts where it is told', async () => {
  await using s = await setup();
  const values = async (options: object): Promise<string[]> => {
    const read: string[] = [];
    for await (const { message } of readFrom(s.bus, { ...prompts(s), ...options })) read.push(message.value);
    return read;
  };
  assert.deepEqual(await values({}), []);
  await publishPrompts(s, 'a', 0, 5);
  await publishPrompts(s, 'b', 0, 5);
  assert.deepEqual(await values({ filter: subjects.prompts('b') }), ['b0', 'b1', 'b2', 'b3', 'b4']);
  assert.deepEqual(await values({ fromSequence: 4 }), ['a3', 'a4', 'b0', 'b1', 'b2', 'b3', 'b4']);
  assert.deepEqual(await values({ fromSequence: 11 }), []);
  await assert.rejects(values({ stream: 'NOPE' }), { reason: 'STREAM_MISSING' });
});

test('a live read gives each message once and in order, through restarts of the server', async () => {
  await using s = await setup();
  const stop = new AbortController();
  const seen: string[] = [];
  const reading = (async () => {
    const live = { ...prompts(s), filter: subjects.prompts('a'), live: true, signal: stop.signal };
    for await (const { message } of readFrom(s.bus, live)) seen.push(message.value);
  })();
  const publishing = publishPrompts(s, 'a', 0, 600);
  for (const mark of [50, 300]) {
    await until(`${mark} messages`, () => seen.length >= mark);
    await s.server.restart();
  }
  await publishing;
  await until('all messages', () => seen.length >= 600);
  assert.deepEqual(
    seen,
    Array.from({ length: 600 }, (_, i) => `a${i}`),
  );
  stop.abort();
  await reading;
});

test('what cannot be decoded ends a read, or is told and passed over', async () => {
  await using s = await setup();
  await publishPrompts(s, 'a', 0, 1);
  await s.bus.js.publish(subjects.prompts('a'), new Uint8Array([255]));
  const gone = headers();
  gone.set('ce-dataref', `${s.blobs.uriPrefix}gone`);
  gone.set('ce-datasha256', 'a'.repeat(64));
  await s.bus.js.publish(subjects.prompts('a'), '', { headers: gone });
  await publishPrompts(s, 'a', 1, 2);
  const values = async (options: object): Promise<string[]> => {
    const read: string[] = [];
    for await (const { message } of readFrom(s.bus, { ...prompts(s), ...options })) read.push(message.value);
    return read;
  };
  await assert.rejects(values({}), { reason: 'MESSAGE_INVALID' });
  const told: string[] = [];
  const onInvalid = ({ reason }: { reason: string }, { sequence }: { sequence: number }) =>
    told.push(`${sequence} ${reason}`);
  assert.deepEqual(await values({ onInvalid }), ['a0', 'a1']);
  assert.deepEqual(told, ['2 MESSAGE_INVALID', '3 BLOB_MISSING']);
});

test('the last message of a subject or of a wildcard, and how many there are', async () => {
  await using s = await setup();
  const options = { stream: STREAMS.rounds, schema: StringValueSchema, blobs: s.blobs };
  assert.equal(await readLast(s.bus, { ...options, subject: filters.generated('r1') }), undefined);
  for (const [run, round] of [
    ['r1', 0],
    ['r1', 1],
    ['r2', 0],
  ] as const) {
    const subject = subjects.generated(run, round);
    await s.publisher.publishOnce(StringValueSchema, text(`${run}.${round}`), { subject, id: subject });
  }
  const last = await readLast(s.bus, { ...options, subject: filters.generated('r1') });
  assert.equal(last?.message.value, 'r1.1');
  assert.equal(last?.sequence, 2);
  assert.equal(await countMessages(s.bus, STREAMS.rounds, filters.generated()), 3);
  assert.equal(await countMessages(s.bus, STREAMS.rounds, filters.scored()), 0);
});
