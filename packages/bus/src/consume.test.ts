import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { StringValueSchema } from '@bufbuild/protobuf/wkt';
import { ParleyError } from '@parley/runtime';
import { consume } from './consume.js';
import type { Poison } from './consume.js';
import { STREAMS, subjects } from './subjects.js';
import { roundConsumer, setup, text, until } from './test-support.js';
import type { Setup } from './test-support.js';

async function publishRounds(s: Setup, from: number, to: number): Promise<void> {
  for (let round = from; round < to; round++) {
    const subject = subjects.generated('r1', round);
    await s.publisher.publishOnce(StringValueSchema, text(`${round}`), { subject, id: `g${round}` });
  }
}

async function unacknowledged(s: Setup): Promise<number> {
  const { num_ack_pending, num_pending } = await s.bus.jsm.consumers.info(STREAMS.rounds, 'test');
  return num_ack_pending + num_pending;
}

test('messages come in order, one at a time, and are acknowledged after the handler', async () => {
  await using s = await setup();
  await publishRounds(s, 0, 50);
  const handled: string[] = [];
  let running = 0;
  await using consumption = await consume(
    s.bus,
    roundConsumer(s.blobs),
    async ({ message, deliveryCount }) => {
      assert.equal(++running, 1);
      assert.equal(deliveryCount, 1);
      await wait(1);
      handled.push(message.value);
      running--;
    },
  );
  await until('all rounds', () => handled.length === 50);
  await until('all acknowledged', async () => (await unacknowledged(s)) === 0);
  assert.deepEqual(
    handled,
    Array.from({ length: 50 }, (_, i) => `${i}`),
  );
  await consumption.drain(1000);
  await consumption.done;
});

test('several are handled at once where asked for', async () => {
  await using s = await setup();
  await publishRounds(s, 0, 12);
  let [running, most, handled] = [0, 0, 0];
  await using _consumption = await consume(
    s.bus,
    { ...roundConsumer(s.blobs), maxAckPending: 4, concurrency: 4 },
    async () => {
      most = Math.max(most, ++running);
      await wait(50);
      running--;
      handled++;
    },
  );
  await until('all rounds', () => handled === 12);
  assert.equal(most, 4);
});

test('a retryable failure brings the message back, later; what comes after it waits its turn', async () => {
  await using s = await setup();
  await publishRounds(s, 0, 3);
  const seen: string[] = [];
  await using _consumption = await consume(
    s.bus,
    roundConsumer(s.blobs),
    async ({ message, deliveryCount }) => {
      seen.push(`${message.value}#${deliveryCount}`);
      if (message.value === '1' && deliveryCount < 3) throw new ParleyError('PEER_LOST', 'later');
    },
  );
  await until('the last round', () => seen.includes('2#1'));
  assert.deepEqual(seen, ['0#1', '1#1', '1#2', '1#3', '2#1']);
});

test('a final failure, an undecodable message and too many failures are poison: recorded, then removed', async () => {
  await using s = await setup();
  await publishRounds(s, 0, 1);
  await s.bus.js.publish(subjects.generated('r1', 1), new Uint8Array([255]));
  await publishRounds(s, 2, 4);
  const poison: Poison[] = [];
  const handled: string[] = [];
  const options = {
    ...roundConsumer(s.blobs),
    maxDeliveries: 2,
    onPoison: async (found: Poison) => void poison.push(found),
  };
  await using _consumption = await consume(s.bus, options, async ({ message }) => {
    if (message.value === '0') throw new ParleyError('WEIGHT_NOT_FINITE', 'weight 3 is NaN');
    if (message.value === '2') throw new TypeError('a defect');
    handled.push(message.value);
  });
  await until('the last round', () => handled.length === 1);
  assert.deepEqual(
    poison.map(({ subject, deliveryCount, error }) => [subject.at(-1), deliveryCount, error.reason]),
    [
      ['0', 1, 'WEIGHT_NOT_FINITE'],
      ['1', 1, 'MESSAGE_INVALID'],
      ['2', 2, 'INTERNAL'],
    ],
  );
  await until('nothing left', async () => (await unacknowledged(s)) === 0);
});

test('a message that waits for something else is never poison, however often it comes', async () => {
  await using s = await setup();
  await publishRounds(s, 0, 1);
  const poison: Poison[] = [];
  let deliveries = 0;
  const options = {
    ...roundConsumer(s.blobs),
    maxDeliveries: 2,
    onPoison: async (found: Poison) => void poison.push(found),
  };
  await using _consumption = await consume(s.bus, options, async () => {
    if (++deliveries < 5) throw new ParleyError('PEER_LOST', 'ant is away');
    throw new TypeError('a defect');
  });
  await until('the poison', () => poison.length === 1);
  assert.deepEqual([deliveries, poison[0]?.deliveryCount, poison[0]?.error.reason], [5, 5, 'INTERNAL']);
});

test('poison that cannot be recorded stays', async () => {
  await using s = await setup();
  await publishRounds(s, 0, 1);
  let attempts = 0;
  const onPoison = async () => {
    if (++attempts < 3) throw new Error('the record is full');
  };
  await using _consumption = await consume(s.bus, { ...roundConsumer(s.blobs), onPoison }, async () => {
    throw new ParleyError('RECIPE_INVALID', 'never');
  });
  await until('three attempts', () => attempts === 3);
  await until('nothing left', async () => (await unacknowledged(s)) === 0);
});

test('a handler that takes longer than the acknowledgement time keeps its message', async () => {
  await using s = await setup();
  await publishRounds(s, 0, 1);
  const deliveries: number[] = [];
  let finished = false;
  const options = { ...roundConsumer(s.blobs), ackWaitMs: 300, maxAckPending: 2, concurrency: 2 };
  await using _consumption = await consume(s.bus, options, async ({ deliveryCount }) => {
    deliveries.push(deliveryCount);
    await wait(1200);
    finished = true;
  });
  await until('the handler', () => finished);
  await until('the acknowledgement', async () => (await unacknowledged(s)) === 0);
  assert.deepEqual(deliveries, [1]);
});

test('draining finishes what is in flight and takes nothing new; past its deadline work is given back', async () => {
  await using s = await setup();
  await publishRounds(s, 0, 5);
  const handled: string[] = [];
  const first = await consume(s.bus, roundConsumer(s.blobs), async ({ message }) => {
    await wait(100);
    handled.push(message.value);
  });
  await wait(50);
  await first.drain(2000);
  assert.deepEqual(handled, ['0']);

  const second = await consume(s.bus, roundConsumer(s.blobs), async (_delivery, signal) => {
    await wait(10_000, undefined, { signal });
  });
  await until(
    'a message in flight',
    async () => (await s.bus.jsm.consumers.info(STREAMS.rounds, 'test')).num_ack_pending === 1,
  );
  const started = Date.now();
  await second.drain(100);
  await second.done;
  assert.ok(Date.now() - started < 1500);

  await using _third = await consume(
    s.bus,
    roundConsumer(s.blobs),
    async ({ message }) => void handled.push(message.value),
  );
  await until('the rest, at once', () => handled.length === 5);
  assert.ok(Date.now() - started < 1500);
});

test('restarts of the server in the middle lose nothing and need no hand', async () => {
  await using s = await setup();
  const handled: string[] = [];
  await using _consumption = await consume(s.bus, roundConsumer(s.blobs), async ({ message }) => {
    await wait(2);
    handled.push(message.value);
  });
  const publishing = publishRounds(s, 0, 200);
  for (const mark of [30, 90]) {
    await until(`${mark} handled`, () => handled.length >= mark);
    await s.server.restart();
  }
  await publishing;
  await until('all handled', () => new Set(handled).size === 200);
  await until('all acknowledged', async () => (await unacknowledged(s)) === 0);
});

test('a consumer that waits through a long outage does not spin, and goes on', async () => {
  await using s = await setup();
  let handled = 0;
  let warnings = 0;
  const bus = {
    ...s.bus,
    maxPayloadBytes: s.bus.maxPayloadBytes,
    log: { ...s.bus.log, warn: () => void warnings++ },
  };
  await using _consumption = await consume(bus, roundConsumer(s.blobs), async () => void handled++);
  await wait(50);
  await s.server.kill();
  await wait(1500);
  assert.ok(warnings < 12, `${warnings} warnings in 1.5 s`);
  await s.server.restart();
  await publishRounds(s, 0, 3);
  await until('all handled', () => handled === 3);
});

test('draining is bounded while the server is gone and while a handler ignores its signal', async () => {
  await using s = await setup();
  const idle = await consume(s.bus, roundConsumer(s.blobs), async () => undefined);
  await wait(50);
  await s.server.kill();
  const started = Date.now();
  await idle.drain(5000);
  assert.ok(Date.now() - started < 2500);

  await s.server.restart();
  await publishRounds(s, 0, 1);
  let entered = false;
  const deaf = await consume(s.bus, roundConsumer(s.blobs), async () => {
    entered = true;
    await wait(4000);
  });
  await until('the handler', () => entered);
  const again = Date.now();
  await deaf.drain(100);
  assert.ok(Date.now() - again < 2500);
});

test('a deleted consumer is made anew, and a closed connection ends consumption with an error', async () => {
  await using s = await setup();
  let handled = 0;
  const bus = await s.connect();
  const consumption = await consume(bus, roundConsumer(s.blobs), async () => void handled++);
  await wait(50);
  await s.bus.jsm.consumers.delete(STREAMS.rounds, 'test');
  await publishRounds(s, 0, 1);
  await until('the message', () => handled === 1);
  const ended = assert.rejects(consumption.done, {
    reason: 'BUS_UNAVAILABLE',
    message: /closed while consuming ROUNDS as test/,
  });
  await bus.close();
  await ended;
});

test('a consumer of the same name on other subjects is refused by name', async () => {
  await using s = await setup();
  await using _one = await consume(s.bus, roundConsumer(s.blobs), async () => undefined);
  await assert.rejects(
    consume(s.bus, { ...roundConsumer(s.blobs), filter: 'parley.rounds.scored.*.*' }, async () => undefined),
    {
      reason: 'STREAM_CONFLICT',
      message:
        /The consumer test of ROUNDS reads parley\.rounds\.generated\.\*\.\*, but parley\.rounds\.scored/,
    },
  );
  await assert.rejects(
    consume(s.bus, { ...roundConsumer(s.blobs), stream: 'NOPE' }, async () => undefined),
    {
      reason: 'STREAM_MISSING',
      message: /create the topology first/,
    },
  );
});

test('a process killed in its handler loses its message to the next one', async () => {
  await using s = await setup();
  await publishRounds(s, 0, 1);
  const here = (name: string) => JSON.stringify(new URL(name, import.meta.url).href);
  const script = `
    import { connectBus } from ${here('./connect.js')};
    import { consume } from ${here('./consume.js')};
    import { natsBlobs } from ${here('./blobs.js')};
    import { roundConsumer } from ${here('./test-support.js')};
    const bus = await connectBus({ servers: ${JSON.stringify(s.server.url)}, name: 'doomed' });
    await consume(bus, roundConsumer(natsBlobs(bus)), async () => {
      console.log('handling');
      await new Promise(() => {});
    });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  const deliveries: number[] = [];
  await using _next = await consume(
    s.bus,
    roundConsumer(s.blobs),
    async ({ deliveryCount }) => void deliveries.push(deliveryCount),
  );
  await until('the redelivery', () => deliveries.length === 1);
  assert.deepEqual(deliveries, [2]);
});
