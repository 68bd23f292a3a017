import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectBus } from './connect.js';
import { MIN_CLUSTERED_NATS_VERSION, isOlder } from './nats-version.js';
import { setup } from './test-support.js';
import { startNatsServer } from './testing.js';
import { awaitTopology, checkTopology, ensureTopology, topologyOf, wholeTopology } from './topology.js';

test('the topology is made once, by any number of processes at once, and is then complete', async () => {
  await using server = await startNatsServer();
  await using bus = await connectBus({ servers: server.url, name: 'test' });
  const missing = await checkTopology(bus);
  assert.deepEqual(
    missing.map(({ name, setting }) => `${name} ${setting}`).sort(),
    [
      'EVENTS',
      'PROMPTS',
      'ROUNDS',
      'ROUNDS/pmi',
      'UPDATES',
      'VERSIONS',
      'parley-blobs',
      'parley-leases',
      'parley-peers',
      'parley-runs',
    ].map((name) => `${name} missing`),
  );
  await Promise.all([ensureTopology(bus), ensureTopology(bus), ensureTopology(bus)]);
  assert.deepEqual(await checkTopology(bus), []);
});

test("an operator's limits survive, and a contradicting structure is named", async () => {
  await using s = await setup();
  await s.bus.jsm.streams.update('EVENTS', { max_bytes: 1_000_000 });
  await ensureTopology(s.bus);
  assert.equal((await s.bus.jsm.streams.info('EVENTS')).config.max_bytes, 1_000_000);

  await s.bus.jsm.streams.update('ROUNDS', { subjects: ['other.>'] });
  await assert.rejects(ensureTopology(s.bus), {
    reason: 'STREAM_CONFLICT',
    message:
      /rename or remove them:\n {2}ROUNDS: subjects is \["other.>"\], but \["parley\.rounds\.\*\.\*\.\*"\] is needed/,
  });
});

test('each peer that is named gets a store and a consumer of its own', async () => {
  await using s = await setup();
  const scope = wholeTopology(['ant', 'bee']);
  const names = async () => (await checkTopology(s.bus, scope)).map(({ name }) => name).sort();
  assert.deepEqual(await names(), [
    'UPDATES/peer-ant',
    'UPDATES/peer-bee',
    'parley-peer-ant',
    'parley-peer-bee',
  ]);
  await ensureTopology(s.bus, { peers: ['ant'] });
  assert.deepEqual(await names(), ['UPDATES/peer-bee', 'parley-peer-bee']);
  assert.deepEqual(await checkTopology(s.bus, topologyOf({ role: 'peer', name: 'ant' })), []);
});

test('a service that makes nothing waits for what it needs, and says what is missing when it gives up', async () => {
  await using server = await startNatsServer();
  await using bus = await connectBus({ servers: server.url, name: 'test', makesTopology: false });
  await using maker = await connectBus({ servers: server.url, name: 'maker' });
  const identity = { role: 'peer', name: 'ant' } as const;
  await assert.rejects(awaitTopology(bus, identity, { deadlineMs: 100 }), {
    reason: 'STREAM_MISSING',
    message: /still lacks parley-peers, parley-peer-ant, UPDATES\/peer-ant after 100 ms; .*parley topology/,
  });
  const waiting = awaitTopology(bus, identity, { deadlineMs: 20_000 });
  await ensureTopology(maker, { peers: ['ant'] });
  await waiting;
  await maker.jsm.consumers.delete('UPDATES', 'peer-ant');
  await maker.jsm.consumers.add('UPDATES', {
    durable_name: 'peer-ant',
    filter_subject: 'parley.updates.bee.*.*',
  });
  await assert.rejects(awaitTopology(bus, identity, { deadlineMs: 20_000 }), {
    reason: 'STREAM_CONFLICT',
    message: /UPDATES\/peer-ant: filter is parley\.updates\.bee/,
  });
});

test('copies are refused where a cluster would lose messages', async () => {
  await using s = await setup();
  const { version = '' } = s.bus.connection.info ?? {};
  const old = { ...s.bus, connection: { ...s.bus.connection, info: { version: '2.10.28' } } } as typeof s.bus;
  await assert.rejects(ensureTopology(old, { replicas: 3 }), {
    reason: 'NATS_TOO_OLD',
    message: `nats-server at ${s.bus.url} is version 2.10.28; 2.10.29 or newer is needed for 3 copies of a stream, upgrade it`,
  });
  if (isOlder(version, MIN_CLUSTERED_NATS_VERSION))
    await assert.rejects(ensureTopology(s.bus, { replicas: 3 }), { reason: 'NATS_TOO_OLD' });
});
