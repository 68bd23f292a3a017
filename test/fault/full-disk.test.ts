import { deepEqual, equal, match, notEqual, ok, rejects } from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import {
  STREAMS,
  connectBus,
  createPublisher,
  ensureTopology,
  filters,
  natsBlobs,
  subjects,
} from '@parley/bus';
import { startNatsServer } from '@parley/bus/testing';
import { PeerAvailabilitySchema, PeerService, WeightedUpdateSchema } from '@parley/contracts';
import type { WeightedUpdate } from '@parley/contracts';
import { createClient, isParleyError } from '@parley/runtime';
import { freePort } from '../support/free-port.js';
import { launch } from '../support/launch.js';
import { readAll } from '../support/outcome.js';
import { createSmallDisk } from '../support/small-disk.js';
import { fixtureFolder } from '../support/small-models.js';
import { until } from '../support/until.js';

/** Room for the file of a version, none for the weights with their optimiser state. */
const ROOM_BYTES = 200_000;

const skip = process.platform !== 'linux' && 'needs tmpfs or prlimit';

test(
  'a disk that is full while a peer commits leaves what was; with room again the update goes through',
  { skip },
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'parley-disk-'));
    t.after(() => rm(folder, { recursive: true, force: true }));
    await using nats = await startNatsServer();
    await using bus = await connectBus({ servers: nats.url, name: 'test' });
    await ensureTopology(bus);
    const blobs = natsBlobs(bus);
    const publisher = createPublisher(bus, { source: 'parley/test', blobs });
    const startPeer = async (name: string, stateDir: string) => {
      const port = await freePort();
      const program = launch('peer', {
        PARLEY_PEER_NAME: name,
        PARLEY_MODEL: fixtureFolder('llama'),
        PARLEY_STATE_DIR: stateDir,
        PARLEY_NATS_URL: nats.url,
        PARLEY_LISTEN: `127.0.0.1:${port}`,
      });
      const client = createClient(PeerService, `127.0.0.1:${port}`, { deadlineMs: 10_000 });
      const close = async () => {
        client.close();
        await program[Symbol.asyncDispose]();
      };
      const answers = () =>
        client.describe({}, { deadlineMs: 1000 }).then(
          () => true,
          () => false,
        );
      await until(`peer ${name} answers`, answers);
      return { program, client, [Symbol.asyncDispose]: close };
    };

    let pid = 0;
    await using disk = await createSmallDisk(join(folder, 'small'), () => pid);
    t.diagnostic(`the disk is a ${disk.kind}`);
    await using ant = await startPeer('ant', disk.folder);
    await using bee = await startPeer('bee', join(folder, 'bee'));
    pid = ant.program.pid;
    await ant.client.applyUpdate({ update: updateOf('ant', 0) });
    await bee.client.applyUpdate({ update: updateOf('bee', 0) });
    const before = await ant.client.describe({});
    equal(before.version, 1n);

    await disk.fill(ROOM_BYTES);
    await rejects(ant.client.applyUpdate({ update: updateOf('ant', 1) }), (error) => {
      ok(isParleyError(error, 'DISK_FULL') && error.code === 'RESOURCE_EXHAUSTED', String(error));
      ok(error.message.includes(join(disk.folder, 'head.safetensors')), error.message);
      match(error.message, /bytes are needed.*the earlier file is intact/);
      return true;
    });
    const { updateId, peer, runId, round } = updateOf('ant', 1);
    const subject = subjects.update(peer, runId, round);
    await publisher.publishOnce(WeightedUpdateSchema, updateOf('ant', 1), { subject, id: updateId });
    await until('the stream brings the update in vain', async () =>
      ant.program.stdout.includes('handling failed; the message comes back'),
    );
    const told = async () => {
      const events = await readAll(
        { bus, blobs },
        STREAMS.events,
        PeerAvailabilitySchema,
        filters.events(runId, 'peer'),
      );
      return events.map(({ message: { peer, phase, available, cause } }) => [
        peer,
        phase,
        available,
        cause?.reason,
      ]);
    };
    await until('the run is told why it waits', async () => (await told()).length > 0);
    deepEqual(await told(), [['ant', 'apply', false, 'DISK_FULL']]);
    const meanwhile = await ant.client.describe({});
    deepEqual([meanwhile.version, meanwhile.weightsSha256], [1n, before.weightsSha256]);
    const item = { itemId: 'i', question: 'what?', continuation: 'four' };
    const { results } = await ant.client.score({ items: [item], version: 1n });
    equal(results[0]?.outcome.case, 'likelihood', 'it goes on serving the version before');

    await disk.free();
    await until('the update goes through', async () => (await ant.client.describe({})).version === 2n);
    await until('the run is told', async () => (await told()).length > 1);
    deepEqual((await told())[1], ['ant', 'apply', true, undefined]);
    await bee.client.applyUpdate({ update: updateOf('bee', 1) });
    const [was, is] = await Promise.all([bee.client.describe({}), ant.client.describe({})]);
    notEqual(is.weightsSha256, before.weightsSha256);
    deepEqual([is.weightsSha256, is.updatesApplied], [was.weightsSha256, 2n]);
  },
);

function updateOf(peer: string, round: number): WeightedUpdate {
  return create(WeightedUpdateSchema, {
    updateId: `run/${round}/${peer}`,
    runId: 'run',
    round: BigInt(round),
    peer,
    items: [1, 2, 3].map((n) => ({
      promptId: `p${n}`,
      question: `what is ${n} and ${n}?`,
      target: `it is ${2 * n}`,
      weight: 1,
    })),
    training: {
      learningRate: 1e-2,
      schedule: 'constant',
      epochs: 1,
      minibatchSize: 2,
      beta1: 0.9,
      beta2: 0.98,
      epsilon: 1e-8,
    },
    seed: BigInt(round),
  });
}
