import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BUCKETS, STREAMS, createPublisher, filters, openKv } from '@parley/bus';
import {
  PeerAnnouncementSchema,
  PeerAvailabilitySchema,
  PmiService,
  RoundGeneratedSchema,
  RoundScoredSchema,
  RunState,
  WeightedUpdateSchema,
} from '@parley/contracts';
import type { RoundGenerated } from '@parley/contracts';
import { recipeToMessage } from '@parley/mesh';
import { createClient } from '@parley/runtime';
import {
  SKILLS,
  startTestMesh,
  startTrio,
  testPrompts,
  testRecipe,
  testSpec,
  until,
  untilEnded,
} from '../support/test-mesh.js';
import type { TestMesh } from '../support/test-mesh.js';

const generated = (mesh: TestMesh) =>
  mesh.read(STREAMS.rounds, RoundGeneratedSchema, 'parley.rounds.generated.r1.*');
const scores = (mesh: TestMesh) => mesh.read(STREAMS.rounds, RoundScoredSchema, 'parley.rounds.scored.r1.*');
const availability = (mesh: TestMesh) =>
  mesh.read(STREAMS.events, PeerAvailabilitySchema, filters.events('r1', 'peer'));

/** What was said, without the times. */
function answersOf(rounds: RoundGenerated[]): unknown {
  return rounds.map(({ round, lastPromptSequence, peers, items }) => ({
    round,
    lastPromptSequence,
    peers,
    items,
  }));
}

async function undisturbed(): Promise<{ rounds: unknown; weights: string[] }> {
  await using mesh = await startTestMesh();
  const peers = await startTrio(mesh);
  const client = mesh.client(await mesh.startCoordinator());
  await mesh.startPmi();
  await client.createRun({ requestId: 'r1', spec: testSpec() });
  await client.submitPrompts({ runId: 'r1', prompts: testPrompts(16), close: true });
  await untilEnded(client, 'r1');
  return { rounds: answersOf(await generated(mesh)), weights: peers.map((peer) => peer.weightsSha256) };
}

describe('a run that is disturbed', () => {
  it('goes on in another coordinator after SIGKILL in the middle of a round, to the same end', async () => {
    await using mesh = await startTestMesh();
    const peers = await startTrio(mesh, { latencyMs: 15 });
    await mesh.startPmi();
    const first = await mesh.spawnCoordinator();
    const before = mesh.client(first);
    await before.createRun({ requestId: 'r1', spec: testSpec() });
    await before.submitPrompts({ runId: 'r1', prompts: testPrompts(16), close: true });
    await until(10_000, 'the second round to be under way', async () =>
      peers[1].asked.some((id) => id.startsWith('r1/1/')),
    );
    await first.kill();
    const client = mesh.client(await mesh.startCoordinator());
    const run = await untilEnded(client, 'r1');
    assert.equal(run.state, RunState.COMPLETED);
    const wanted = await undisturbed();
    assert.deepEqual(answersOf(await generated(mesh)), wanted.rounds);
    assert.deepEqual(
      peers.map((peer) => peer.weightsSha256),
      wanted.weights,
    );
    assert.deepEqual(
      peers.map((peer) => peer.applied.length),
      [2, 2, 2],
    );
  });

  it('is driven by one coordinator even if two are there, and survives a restart of nats-server', async () => {
    await using mesh = await startTestMesh();
    const peers = await startTrio(mesh, { latencyMs: 10 });
    await mesh.startPmi();
    const client = mesh.client(await mesh.startCoordinator());
    await mesh.startCoordinator();
    await client.createRun({ requestId: 'r1', spec: testSpec() });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(16), close: true });
    await until(10_000, 'the first round to be under way', async () => peers[2].asked.length > 0);
    await mesh.nats.restart();
    const run = await untilEnded(client, 'r1', 30_000);
    assert.equal(run.state, RunState.COMPLETED);
    assert.deepEqual(
      peers.map((peer) => peer.weightsSha256),
      (await undisturbed()).weights,
    );
  });

  it('uses scores that are there already, and publishes only the updates that are missing', async () => {
    await using mesh = await startTestMesh();
    const peers = await startTrio(mesh);
    const client = mesh.client(await mesh.startCoordinator());
    await client.createRun({ requestId: 'r1', spec: testSpec() });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(8), close: true });
    const [round] = await until(5000, 'a round', async () => {
      const rounds = await generated(mesh);
      return rounds.length > 0 && rounds;
    });

    // A scorer that died after the first update left this behind; its weights are unlike any that are computed.
    const { scored, updates } = await scoreElsewhere(round);
    const publisher = createPublisher(mesh.bus, { source: 'test', blobs: mesh.blobs });
    for (const peer of scored!.peers) for (const item of peer.items) item.weight = 0.123;
    await publisher.publishOnce(RoundScoredSchema, scored!, {
      subject: 'parley.rounds.scored.r1.0',
      id: 'r1/0/scored',
    });
    const ant = { ...updates[0], items: updates[0].items.slice(0, 1) };
    await publisher.publishOnce(WeightedUpdateSchema, ant, {
      subject: 'parley.updates.ant.r1.0',
      id: ant.updateId,
    });

    await mesh.startPmi();
    assert.equal((await untilEnded(client, 'r1')).state, RunState.COMPLETED);
    const published = await mesh.read(STREAMS.updates, WeightedUpdateSchema, 'parley.updates.*.r1.*');
    assert.deepEqual(
      published.map((update) => update.updateId),
      ['r1/0/ant', 'r1/0/bee', 'r1/0/cat'],
    );
    assert.equal(published[0].items.length, 1);
    assert.ok(published.slice(1).every((update) => update.items.every((item) => item.weight === 0.123)));
    assert.deepEqual(
      peers.map((peer) => peer.applied),
      [['r1/0/ant'], ['r1/0/bee'], ['r1/0/cat']],
    );
  });

  it('names a lost peer with phase and cause, and goes on by itself when it is back', async () => {
    await using mesh = await startTestMesh();
    const [, bee] = await startTrio(mesh, { latencyMs: 10 });
    const client = mesh.client(await mesh.startCoordinator());
    await mesh.startPmi();
    await client.createRun({ requestId: 'r1', spec: testSpec() });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(16), close: true });
    await until(5000, 'bee to be asked', async () => bee.asked.length > 0);
    const killedMs = performance.now();
    await bee.kill();
    const [lost] = await until(5000, 'bee to be named', async () => {
      const events = await availability(mesh);
      return events.length > 0 && events;
    });
    assert.ok(performance.now() - killedMs < 2000, 'named within two seconds under this timing');
    assert.deepEqual([lost.peer, lost.available, lost.phase], ['bee', false, 'generate']);
    assert.equal(lost.cause!.reason, 'SERVICE_UNAVAILABLE');
    assert.match(lost.cause!.message, /peer bee at 127\.0\.0\.1:\d+/);
    const { run: waiting } = await client.getRun({ runId: 'r1' });
    assert.equal(waiting!.state, RunState.RUNNING);
    assert.equal(waiting!.progress!.peers[1].available, false);

    await mesh.startPeer({ name: 'bee', skills: SKILLS['bee'] });
    assert.equal((await untilEnded(client, 'r1')).state, RunState.COMPLETED);
    assert.ok((await availability(mesh)).some(({ peer, available }) => peer === 'bee' && available));
    assert.deepEqual(answersOf(await generated(mesh)), (await undisturbed()).rounds);
  });

  it('names a peer that hangs, gives its calls up, and asks again when it answers', async () => {
    await using mesh = await startTestMesh();
    let hanging = false;
    const [, bee] = await startTrio(mesh, { latencyMs: 10, hangs: () => hanging });
    const client = mesh.client(await mesh.startCoordinator());
    await mesh.startPmi();
    await client.createRun({ requestId: 'r1', spec: testSpec() });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(16), close: true });
    await until(5000, 'bee to be asked', async () => bee.asked.length > 0);
    hanging = true;
    const events = await until(5000, 'all three to be named', async () => {
      const found = await availability(mesh);
      return found.length === 3 && found;
    });
    assert.ok(events.every(({ available, cause }) => !available && cause!.reason === 'DEADLINE_EXCEEDED'));
    hanging = false;
    assert.equal((await untilEnded(client, 'r1')).state, RunState.COMPLETED);
    assert.deepEqual(answersOf(await generated(mesh)), (await undisturbed()).rounds);
  });

  it('waits for a peer that was declared and has never started', async () => {
    await using mesh = await startTestMesh();
    for (const name of ['ant', 'bee']) await mesh.startPeer({ name, skills: SKILLS[name] });
    const client = mesh.client(await mesh.startCoordinator());
    await mesh.startPmi();
    await assert.rejects(client.createRun({ requestId: 'r1', spec: testSpec() }), { reason: 'PEER_UNKNOWN' });
    const announcements = await openKv(mesh.bus, BUCKETS.peers, PeerAnnouncementSchema);
    await announcements.create('cat', { name: 'cat' });
    await client.createRun({ requestId: 'r1', spec: testSpec() });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(8), close: true });
    const [lost] = await until(5000, 'cat to be named', async () => {
      const events = await availability(mesh);
      return events.length > 0 && events;
    });
    assert.equal(lost.peer, 'cat');
    assert.match(lost.cause!.message, /Peer cat has never started/);
    const { peers } = await client.listPeers({});
    assert.deepEqual(
      peers.map(({ announcement, available, runId }) => [announcement?.name, available, runId]),
      [
        ['ant', true, 'r1'],
        ['bee', true, 'r1'],
        ['cat', false, 'r1'],
      ],
    );
    await mesh.startPeer({ name: 'cat', skills: SKILLS['cat'] });
    assert.equal((await untilEnded(client, 'r1')).state, RunState.COMPLETED);
  });

  it('completes rounds without a lost peer where a quorum allows it, and lets it catch up', async () => {
    await using mesh = await startTestMesh();
    const [, , cat] = await startTrio(mesh, { latencyMs: 5 });
    const client = mesh.client(await mesh.startCoordinator());
    await mesh.startPmi();
    await client.createRun({ requestId: 'r1', spec: testSpec(testRecipe({ rounds: { quorum: 2 } })) });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(8) });
    const { version } = await until(5000, 'cat to learn', async () => cat.version > 0 && cat);
    assert.equal(version, 1);
    await cat.kill();
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(16, 8), close: true });
    const rounds = await until(10_000, 'all rounds', async () => {
      const found = await generated(mesh);
      return found.length === 3 && found;
    });
    for (const round of rounds.slice(1)) {
      const missing = round.peers[2];
      assert.equal(missing.version, undefined);
      assert.match(missing.missing!.message, /peer cat/);
      assert.ok(round.items.every((item) => item.responses[2].outcome.case === 'failure'));
      assert.ok(
        round.items.every((item) => item.aggregate!.responsePeer === 1),
        'bee is the last that answered',
      );
    }
    assert.equal((await client.getRun({ runId: 'r1' })).run!.state, RunState.RUNNING);

    const back = await mesh.startPeer({ name: 'cat', skills: SKILLS['cat'] });
    assert.equal((await untilEnded(client, 'r1')).state, RunState.COMPLETED);
    assert.deepEqual(back.applied, ['r1/0/cat', 'r1/1/cat', 'r1/2/cat']);
    const updates = await mesh.read(STREAMS.updates, WeightedUpdateSchema, 'parley.updates.cat.r1.*');
    assert.deepEqual(
      updates.map((update) => [update.items.length > 0, update.generatedVersion]),
      [
        [true, 0n],
        [false, undefined],
        [false, undefined],
      ],
    );
  });

  it('waits for a peer that is lost while scoring, and names it', async () => {
    await using mesh = await startTestMesh();
    const [, bee] = await startTrio(mesh);
    const client = mesh.client(await mesh.startCoordinator());
    await client.createRun({ requestId: 'r1', spec: testSpec() });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(8), close: true });
    await until(5000, 'a round', async () => (await generated(mesh)).length === 1);
    await bee.kill();
    await mesh.startPmi();
    await until(5000, 'bee to be named', async () =>
      (await availability(mesh)).some(
        ({ peer, available, phase }) => peer === 'bee' && !available && phase === 'score',
      ),
    );
    assert.equal((await scores(mesh)).length, 0);
    await mesh.startPeer({ name: 'bee', skills: SKILLS['bee'] });
    assert.equal((await untilEnded(client, 'r1')).state, RunState.COMPLETED);
    const [scored] = await scores(mesh);
    assert.ok(scored.peers[1].items.every((item) => item.normalizedPmi !== undefined));
  });

  it('leaves out what a lost peer would have to score where a quorum allows it', async () => {
    await using mesh = await startTestMesh();
    const [, bee] = await startTrio(mesh);
    const client = mesh.client(await mesh.startCoordinator());
    await client.createRun({ requestId: 'r1', spec: testSpec(testRecipe({ rounds: { quorum: 2 } })) });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(8), close: true });
    await until(5000, 'a round', async () => (await generated(mesh)).length === 1);
    await bee.kill();
    await mesh.startPmi();
    const [scored] = await until(5000, 'scores', async () => {
      const found = await scores(mesh);
      return found.length > 0 && found;
    });
    const [ant, lost] = scored.peers;
    assert.ok(ant.items.every((item) => item.normalizedPmi !== undefined && item.weight > 0));
    assert.ok(lost.items.every((item) => item.normalizedPmi === undefined && item.weight === 0));
    await mesh.startPeer({ name: 'bee', skills: SKILLS['bee'] });
    assert.equal((await untilEnded(client, 'r1')).state, RunState.COMPLETED);
    const [update] = await mesh.read(STREAMS.updates, WeightedUpdateSchema, 'parley.updates.bee.r1.*');
    assert.equal(update.items.length, 0);
  });

  it('ends at once when it is stopped, drops the round in progress, and leaves its peers to another run', async () => {
    await using mesh = await startTestMesh();
    const peers = await startTrio(mesh, { latencyMs: 40 });
    const client = mesh.client(await mesh.startCoordinator());
    await mesh.startPmi();
    await client.createRun({ requestId: 'r1', spec: testSpec() });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(24), close: true });
    await until(5000, 'the second round to be under way', async () =>
      peers[1].asked.some((id) => id.startsWith('r1/1/')),
    );
    const { run: stopped } = await client.stopRun({ runId: 'r1' });
    assert.equal(stopped!.state, RunState.STOPPED);
    await client.createRun({ requestId: 'r2', spec: testSpec() });
    await client.submitPrompts({ runId: 'r2', prompts: testPrompts(8), close: true });
    assert.equal((await untilEnded(client, 'r2')).state, RunState.COMPLETED);
    assert.equal((await generated(mesh)).length, 1, 'the round in progress is not finished behind the back');
    for (const { applied, asked } of peers) {
      assert.deepEqual(
        applied.map((id) => id.slice(0, 4)),
        ['r1/0', 'r2/0'],
      );
      const lastOfFirst = asked.findLastIndex((id) => id.startsWith('r1/'));
      assert.ok(
        lastOfFirst < asked.findIndex((id) => id.startsWith('r2/')),
        'nobody asks for the stopped run',
      );
    }
  });

  it('can be stopped while it waits for a lost peer', async () => {
    await using mesh = await startTestMesh();
    const [, bee] = await startTrio(mesh, { latencyMs: 10 });
    const client = mesh.client(await mesh.startCoordinator());
    await mesh.startPmi();
    await client.createRun({ requestId: 'r1', spec: testSpec() });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(8), close: true });
    await until(5000, 'bee to be asked', async () => bee.asked.length > 0);
    await bee.kill();
    await until(5000, 'bee to be named', async () => (await availability(mesh)).length > 0);
    await client.stopRun({ runId: 'r1' });
    await client.createRun({ requestId: 'r2', spec: testSpec(testRecipe(), ['ant', 'cat']) });
    await client.submitPrompts({ runId: 'r2', prompts: testPrompts(8), close: true });
    assert.equal((await untilEnded(client, 'r2')).state, RunState.COMPLETED);
    assert.equal((await generated(mesh)).length, 0);
  });

  it('fails with a reason if a peer has forgotten what it committed', async () => {
    await using mesh = await startTestMesh();
    const [ant] = await startTrio(mesh);
    const client = mesh.client(await mesh.startCoordinator());
    await mesh.startPmi();
    await client.createRun({ requestId: 'r1', spec: testSpec() });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(8) });
    await until(5000, 'ant to learn', async () => ant.version === 1);
    await ant.kill();
    await mesh.startPeer({ name: 'ant', skills: SKILLS['ant'], folder: 'ant-anew' });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(8, 8), close: true });
    const run = await untilEnded(client, 'r1');
    assert.equal(run.state, RunState.FAILED);
    assert.match(
      run.stateReason,
      /Peer ant serves version 0 but has committed version 1: its state folder was lost/,
    );
  });
});

/** The scores of a round by a scorer of another mesh, so that nothing is published in this one. */
async function scoreElsewhere(round: RoundGenerated) {
  await using other = await startTestMesh();
  await startTrio(other);
  const pmi = await other.startPmi();
  using client = createClient(PmiService, pmi.address, { deadlineMs: 5000 });
  return await client.scoreRound({ round, recipe: recipeToMessage(testRecipe()), seed: 42n });
}
