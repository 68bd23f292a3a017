import { deepEqual, equal, match, notEqual, ok, rejects } from 'node:assert/strict';
import { test } from 'node:test';
import { create, equals } from '@bufbuild/protobuf';
import { STREAMS, natsBlobs, readFrom, subjects } from '@parley/bus';
import { TrainingSettingsSchema, UpdateRejectedSchema, VersionCommittedSchema } from '@parley/contracts';
import type { UpdateRejected, VersionCommitted, WeightedUpdateSchema } from '@parley/contracts';
import { ParleyError, REASONS, deferred, isParleyError } from '@parley/runtime';
import type { Reason } from '@parley/runtime';
import { itemOf, startMesh, startTestPeer, temporaryFolder, until, updateOf } from './peer-test-support.js';
import type { Literal, TestMesh, TestPeer } from './peer-test-support.js';

async function digestAfter({ client }: TestPeer, version: number): Promise<string> {
  await until(`version ${version}`, async () => (await client.describe({})).version >= BigInt(version));
  const { version: found, weightsSha256 } = await client.describe({});
  equal(found, BigInt(version));
  return weightsSha256;
}

async function untilAcknowledged(mesh: TestMesh, peer = 'ant'): Promise<void> {
  await until('all updates acknowledged', async () => {
    const { num_pending, num_ack_pending } = await mesh.bus.jsm.consumers.info(
      STREAMS.updates,
      `peer-${peer}`,
    );
    return num_pending === 0 && num_ack_pending === 0;
  });
}

async function rejections(mesh: TestMesh): Promise<UpdateRejected[]> {
  const found = [];
  const filter = subjects.event('run', 'rejected', 'peer-ant');
  const options = {
    stream: STREAMS.events,
    schema: UpdateRejectedSchema,
    blobs: natsBlobs(mesh.bus),
    filter,
  };
  for await (const { message } of readFrom(mesh.bus, options)) found.push(message);
  return found;
}

function same(a: VersionCommitted | undefined, b: VersionCommitted | undefined): boolean {
  return a !== undefined && b !== undefined && equals(VersionCommittedSchema, a, b);
}

test('an update makes one version, told alike to the caller and to the mesh, however often it is sent', async (t) => {
  const mesh = await startMesh(t);
  const ant = await startTestPeer(mesh, await temporaryFolder(t));
  const { weightsSha256: before } = await ant.client.describe({});

  const { committed, alreadyApplied } = await ant.client.applyUpdate({ update: updateOf(0) });
  equal(alreadyApplied, false);
  ok(committed?.cause.case === 'update' && committed.weights && committed.report);
  equal(committed.cause.value.updateId, 'run/0/ant');
  deepEqual([committed.version, committed.parentVersion, committed.updatesApplied], [1n, 0n, 1n]);
  const { steps, items, meanLoss, meanAnchorLoss, meanGradNorm, tokens, seconds } = committed.report;
  deepEqual([steps, items], [4, 3]);
  ok(
    [meanLoss, meanAnchorLoss, meanGradNorm, Number(tokens), seconds].every(
      (value) => value > 0 && value < 1e6,
    ),
  );
  notEqual(committed.weights.sha256, before);
  const content = await natsBlobs(mesh.bus).get(committed.weights.uri, committed.weights.sha256);
  equal(BigInt(content.byteLength), committed.weights.sizeBytes);

  const again = await ant.client.applyUpdate({ update: updateOf(0) });
  ok(again.alreadyApplied && same(again.committed, committed));
  await mesh.publish(updateOf(0));
  await untilAcknowledged(mesh);
  await ant.client.applyUpdate({ update: updateOf(1) });
  const late = await ant.client.applyUpdate({ update: updateOf(0) });
  ok(late.alreadyApplied && same(late.committed, committed), 'also after later versions');
  const published = await mesh.versions('ant');
  deepEqual(
    published.map(({ version }) => version),
    [1n, 2n],
  );
  ok(same(published[0], committed));
  equal((await ant.client.describe({})).updatesApplied, 2n);
});

test('the same updates make the same weights: by call or by stream, in one life or in several', async (t) => {
  const mesh = await startMesh(t);
  const [antDir, beeDir] = [await temporaryFolder(t), await temporaryFolder(t)];
  const ant = await startTestPeer(mesh, antDir);
  for (const round of [0, 1, 2]) await ant.client.applyUpdate({ update: updateOf(round) });
  const wanted = await digestAfter(ant, 3);

  for (const round of [0, 1, 2]) {
    const bee = await startTestPeer(mesh, beeDir, { PARLEY_PEER_NAME: 'bee' });
    equal((await bee.client.describe({})).version, BigInt(round), 'a restart keeps the version');
    await mesh.publish(updateOf(round, { peer: 'bee' }));
    await digestAfter(bee, round + 1);
    await untilAcknowledged(mesh, 'bee');
    await bee.stop();
  }
  const bee = await startTestPeer(mesh, beeDir, { PARLEY_PEER_NAME: 'bee' });
  equal(await digestAfter(bee, 3), wanted);
  const other = await bee.client.applyUpdate({ update: updateOf(3, { peer: 'bee', seed: 1n }) });
  const { committed } = await ant.client.applyUpdate({ update: updateOf(3, { seed: 2n }) });
  notEqual(other.committed?.weights?.sha256, committed?.weights?.sha256, 'the seed orders the items');
});

test('LoRA updates are as reproducible', async (t) => {
  const mesh = await startMesh(t);
  const digests = [];
  for (const name of ['ant', 'bee']) {
    const env = { PARLEY_PEER_NAME: name, PARLEY_TRAIN: 'lora:2' };
    const peer = await startTestPeer(mesh, await temporaryFolder(t), env);
    await peer.client.applyUpdate({ update: updateOf(0, { peer: name }) });
    digests.push(await digestAfter(peer, 1));
  }
  equal(digests[0], digests[1]);
});

test('an update with nothing to learn makes a version with the same weights', async (t) => {
  const mesh = await startMesh(t);
  const ant = await startTestPeer(mesh, await temporaryFolder(t));
  const { weightsSha256 } = await ant.client.describe({});
  const idle = { items: [itemOf(1, { weight: 0 })] };
  for (const [round, update] of [
    updateOf(0, { items: [], training: undefined }),
    updateOf(1, idle),
  ].entries()) {
    const { committed } = await ant.client.applyUpdate({ update });
    equal(committed?.version, BigInt(round + 1));
    equal(committed?.weights?.sha256, weightsSha256);
    deepEqual([committed?.report?.steps, committed?.report?.items], [0, 0]);
  }
});

test('an update that can never be applied is refused by name, recorded and passed over', async (t) => {
  const mesh = await startMesh(t);
  const [ant, bee] = [
    await startTestPeer(mesh, await temporaryFolder(t)),
    await startTestPeer(mesh, await temporaryFolder(t), { PARLEY_PEER_NAME: 'bee' }),
  ];
  const { weightsSha256: before } = await ant.client.describe({});
  const settings = { ...updateOf(0).training!, learningRate: -1 };
  const bad: (Literal<typeof WeightedUpdateSchema> & { reason: Reason; says: RegExp })[] = [
    {
      items: [itemOf(1), itemOf(2, { weight: NaN })],
      reason: 'WEIGHT_NOT_FINITE',
      says: /Item 1 \(prompt p2\) of update run\/0\/ant has weight NaN; .* correct the update/,
    },
    {
      items: [itemOf(1, { weight: Infinity })],
      reason: 'WEIGHT_NOT_FINITE',
      says: /Item 0 \(prompt p1\).* has weight Infinity/,
    },
    {
      items: [itemOf(1, { anchorWeight: -0.5 })],
      reason: 'WEIGHT_NOT_FINITE',
      says: /has anchor_weight -0.5; a weight must be finite and at least 0/,
    },
    {
      items: [itemOf(1, { target: 'word '.repeat(100) })],
      reason: 'PROMPT_TOO_LONG',
      says: /Item 0 \(prompt p1\).* needs \d+ tokens .*shorten/,
    },
    { items: [itemOf(1, { target: '' })], reason: 'REQUEST_INVALID', says: /has an empty target/ },
    { training: settings, reason: 'REQUEST_INVALID', says: /learning_rate is -1, must be above 0/ },
    { training: undefined, reason: 'REQUEST_INVALID', says: /no training settings/ },
    {
      training: create(TrainingSettingsSchema, { ...updateOf(0).training!, anchorReference: '' }),
      reason: 'REQUEST_INVALID',
      says: /anchor_reference is "", must be "initial" or "previous"; Item 1 .*has an anchor weight/,
    },
    // Finite, but float32 arithmetic overflows: the first items train, the weights must come back.
    {
      items: [itemOf(1), itemOf(2), itemOf(3, { weight: 1e300 })],
      reason: 'TRAINING_DIVERGED',
      says: /Training diverged in step \d of 4 .*lower learning_rate/,
    },
  ];
  for (const { reason, says, ...overrides } of bad) {
    await rejects(ant.client.applyUpdate({ update: updateOf(0, overrides) }), (error) => {
      ok(isParleyError(error, reason) && error.code === REASONS[reason].code, String(error));
      match(error.message, says);
      return true;
    });
    deepEqual(await ant.client.describe({}).then(({ version, weightsSha256 }) => [version, weightsSha256]), [
      0n,
      before,
    ]);
  }
  const stranger = ant.client.applyUpdate({ update: updateOf(0, { peer: 'bee' }) });
  await rejects(stranger, /is for peer bee, but this is peer ant/);

  await mesh.publish(updateOf(0, { items: [itemOf(1, { weight: NaN })] }));
  await mesh.publish(updateOf(1));
  const after = await digestAfter(ant, 1);
  await untilAcknowledged(mesh);
  const [rejected, ...more] = await rejections(mesh);
  equal(more.length, 0);
  deepEqual(
    [rejected?.updateId, rejected?.runId, rejected?.peer, rejected?.cause?.reason],
    ['run/0/ant', 'run', 'ant', 'WEIGHT_NOT_FINITE'],
  );
  ok(/prompt p1/.test(rejected?.cause?.message ?? ''));

  await bee.client.applyUpdate({ update: updateOf(1, { peer: 'bee' }) });
  equal(await digestAfter(bee, 1), after, 'what was refused left no trace in weights or moments');
});

test('a caller that gives up stops the training, and the model is as before', async (t) => {
  const mesh = await startMesh(t);
  const ant = await startTestPeer(mesh, await temporaryFolder(t));
  const endless = updateOf(0, { training: { ...updateOf(0).training!, epochs: 1000 } });
  const controller = new AbortController();
  const work = ant.client.applyUpdate({ update: endless }, { signal: controller.signal });
  await until('training', async () => (await ant.client.describe({})).activity === 'training');
  controller.abort();
  await rejects(work, (error) => isParleyError(error, 'CANCELLED'));
  await until('idle', async () => (await ant.client.describe({})).activity === 'idle');
  const { committed } = await ant.client.applyUpdate({ update: updateOf(0) });
  const bee = await startTestPeer(mesh, await temporaryFolder(t), { PARLEY_PEER_NAME: 'bee' });
  await bee.client.applyUpdate({ update: updateOf(0, { peer: 'bee' }) });
  equal(committed?.weights?.sha256, await digestAfter(bee, 1));
});

test('answers of one call come from one version while updates wait for their turn', async (t) => {
  const mesh = await startMesh(t);
  const ant = await startTestPeer(mesh, await temporaryFolder(t));
  const versions: bigint[][] = [];
  const ask = async () => {
    const items = Array.from({ length: 8 }, (_, index) => ({
      itemId: `i${index}`,
      question: `what is ${index}?`,
      seed: 1n,
    }));
    const seen = [];
    for await (const { version } of ant.client.generate({
      items,
      sampling: { maxTokens: 30, temperature: 1 },
    }))
      seen.push(version);
    versions.push(seen);
  };
  const updates = [0, 1, 2].map((round) => mesh.publish(updateOf(round)));
  await Promise.all([...updates, ask(), ask(), ask(), ask()]);
  await digestAfter(ant, 3);
  await ask();
  ok(
    versions.every((seen) => seen.length === 8 && new Set(seen).size === 1),
    String(versions),
  );
  deepEqual(versions.at(-1)?.[0], 3n);
});

test('a version that could not be published is published before the next one is made', async (t) => {
  const mesh = await startMesh(t);
  let broken = true;
  const fail = async () => {
    throw new ParleyError('BUS_UNAVAILABLE', 'the bus is away');
  };
  const ant = await startTestPeer(
    mesh,
    await temporaryFolder(t),
    {},
    {
      wrapVersions: (inner) => ({
        ...inner,
        publish: (committed) => (broken ? fail() : inner.publish(committed)),
      }),
    },
  );
  await rejects(ant.client.applyUpdate({ update: updateOf(0) }), (error) =>
    isParleyError(error, 'BUS_UNAVAILABLE'),
  );
  equal((await ant.client.describe({})).version, 1n, 'it is durable all the same');
  await rejects(ant.client.applyUpdate({ update: updateOf(1) }), (error) =>
    isParleyError(error, 'BUS_UNAVAILABLE'),
  );
  equal((await ant.client.describe({})).version, 1n);
  broken = false;
  const { alreadyApplied } = await ant.client.applyUpdate({ update: updateOf(0) });
  equal(alreadyApplied, true);
  await ant.client.applyUpdate({ update: updateOf(1) });
  deepEqual(
    (await mesh.versions('ant')).map(({ version }) => version),
    [1n, 2n],
  );
});

test('a peer whose state is older than what it published refuses to start', async (t) => {
  const mesh = await startMesh(t);
  const ant = await startTestPeer(mesh, await temporaryFolder(t));
  await ant.client.applyUpdate({ update: updateOf(0) });
  await ant.stop();
  await rejects(
    startTestPeer(mesh, await temporaryFolder(t)),
    (error) =>
      isParleyError(error, 'STATE_CORRUPT') &&
      /has published version 1, but its state folder .* is at version 0/.test(error.message),
  );
});

test('with adapters, answers under way end with the version they began with and say so, and an update does not wait for them', async (t) => {
  const mesh = await startMesh(t);
  const ant = await startTestPeer(mesh, await temporaryFolder(t), {
    PARLEY_TRAIN: 'lora:4',
    PARLEY_MAX_BATCH: '2',
  });
  const ask = (count: number) =>
    ant.client.generate({
      requestId: `ask ${count}`,
      items: Array.from({ length: count }, (_, i) => ({
        itemId: `i${i}`,
        question: `what is ${i}?`,
        seed: 1n,
      })),
      sampling: { maxTokens: 40, temperature: 1 },
    });
  const versions = new Set<bigint>();
  const texts: string[] = [];
  let ended = false;
  const begun = deferred<void>();
  const answers = (async () => {
    for await (const { version, outcome } of ask(240)) {
      versions.add(version);
      if (outcome.case === 'completion') texts.push(outcome.value.text);
      begun.resolve();
    }
    ended = true;
  })();
  await begun.promise;
  const { committed } = await ant.client.applyUpdate({ update: updateOf(0) });
  equal(ended, false, 'the update waited for the answers');
  equal(committed?.version, 1n);
  for await (const { version } of ask(1)) equal(version, 1n);
  await answers;
  deepEqual([...versions], [0n]);
  equal(texts.length, 240);
});
