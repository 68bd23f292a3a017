import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  CONSUMERS,
  MIN_CLUSTERED_NATS_VERSION,
  connectBus,
  consume,
  createPublisher,
  ensureTopology,
  findNatsServer,
  isOlder,
  natsBlobs,
  subjects,
} from '@parley/bus';
import { startNatsServer } from '@parley/bus/testing';
import type { TestNatsServer } from '@parley/bus/testing';
import { WeightedUpdateSchema } from '@parley/contracts';
import { createCleanupStack, sleep } from '@parley/runtime';
import { freePort } from '../support/free-port.js';
import { until } from '../support/until.js';

const PEERS = ['ant', 'bee', 'cat'];
const KILLS = 12;
const PATIENCE = { deadlineMs: 90_000, pollMs: 100 };

/** Three servers on this machine. @returns them, and whether each says that it has caught up with the others */
async function startCluster(cleanup: ReturnType<typeof createCleanupStack>) {
  const ports = await Promise.all(Array.from({ length: 9 }, () => freePort()));
  const routes = ports.slice(3, 6).map((port) => `nats://127.0.0.1:${port}`);
  const start = (index: number) =>
    startNatsServer({
      port: ports[index],
      config: [
        `server_name: n${index}`,
        `http: "127.0.0.1:${ports[6 + index]}"`,
        `cluster { name: test, listen: "127.0.0.1:${ports[3 + index]}", routes: ${JSON.stringify(routes)} }`,
      ].join('\n'),
    });
  const servers = await Promise.all([0, 1, 2].map(async (index) => cleanup.use(await start(index))));
  const caughtUp = async (index: number) => {
    const { status } = await fetch(`http://127.0.0.1:${ports[6 + index]}/healthz`);
    return status === 200;
  };
  for (const index of servers.keys()) await until('the server is ready', () => caughtUp(index), PATIENCE);
  return servers;
}

test('servers of a cluster are killed one after another, hardly back, and no update is lost', async (t) => {
  const { version } = await findNatsServer();
  if (isOlder(version, MIN_CLUSTERED_NATS_VERSION)) {
    t.skip(
      `nats-server ${version} is older than ${MIN_CLUSTERED_NATS_VERSION}; PARLEY_NATS_SERVER names another`,
    );
    return;
  }
  const cleanup = createCleanupStack();
  t.after(() => cleanup.close());
  const servers = await startCluster(cleanup);
  const bus = cleanup.use(await connectBus({ servers: servers.map(({ url }) => url), name: 'test' }));
  await ensureTopology(bus, { replicas: 3, peers: PEERS });
  const blobs = natsBlobs(bus);
  const publisher = createPublisher(bus, { source: 'parley/test', blobs, deadlineMs: 90_000 });

  const handled = new Set<string>();
  for (const peer of PEERS) {
    const options = {
      ...CONSUMERS.peer(peer),
      schema: WeightedUpdateSchema,
      blobs,
      onPoison: ({ error }: { error: Error }) => Promise.reject(error),
    };
    cleanup.use(
      await consume(bus, options, async ({ message: { updateId } }) => {
        await sleep(20);
        handled.add(updateId);
      }),
    );
  }
  const published: string[] = [];
  const stop = new AbortController();
  const publishing = (async () => {
    for (let round = 0; !stop.signal.aborted; round++) {
      for (const peer of PEERS) {
        const id = `run/${round}/${peer}`;
        const update = { updateId: id, runId: 'run', round: BigInt(round), peer };
        const subject = subjects.update(peer, 'run', round);
        await publisher.publishOnce(WeightedUpdateSchema, update, { subject, id });
        published.push(id);
      }
      await sleep(30);
    }
  })();
  for (let kill = 0; kill < KILLS; kill++) {
    await sleep(500);
    const victim: TestNatsServer = servers[kill % servers.length];
    await victim.kill();
    await sleep(100);
    await victim.restart();
  }
  stop.abort();
  await publishing;
  await until('every update was handled', async () => published.every((id) => handled.has(id)), PATIENCE);
  assert.ok(published.length >= PEERS.length, `${published.length} updates were published`);
});
