import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectBus } from './connect.js';
import { setup } from './test-support.js';
import { startNatsServer } from './testing.js';
import { checkTopology, ensureTopology } from './topology.js';

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
