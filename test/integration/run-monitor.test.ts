import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BUCKETS, STREAMS, filters, openKv } from '@parley/bus';
import {
  GuardVerdictSchema,
  MetricSchema,
  MonitorMeasuredSchema,
  PeerAnnouncementSchema,
  PeerAvailabilitySchema,
  RoundGeneratedSchema,
  RunState,
  VersionCommittedSchema,
  WeightedUpdateSchema,
} from '@parley/contracts';
import type { MonitorMeasured, RoundGenerated, Run } from '@parley/contracts';
import type { GuardAction, Recipe } from '@parley/pst';
import { answerAlone } from '../support/rule-peer.js';
import type { RulePeer, RulePeerOptions } from '../support/rule-peer.js';
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

const POOL = 60;
const PER_ROUND = 8;

const generated = (mesh: TestMesh) =>
  mesh.read(STREAMS.rounds, RoundGeneratedSchema, filters.generated('r1'));
const measured = (mesh: TestMesh) =>
  mesh.read(STREAMS.rounds, MonitorMeasuredSchema, filters.monitored('r1'));
const verdicts = (mesh: TestMesh) =>
  mesh.read(STREAMS.events, GuardVerdictSchema, filters.events('r1', 'guard'));
const versions = (mesh: TestMesh, peer: string) =>
  mesh.read(STREAMS.versions, VersionCommittedSchema, filters.versions(peer));

/** The paper's recipe with a monitor pool and the guard that it is for. */
function monitored(action: GuardAction, monitor: Partial<Recipe['monitor']> = {}): Recipe {
  return testRecipe({
    guards: { frozenAgreementDrop: 0.1, action },
    monitor: { questions: POOL, ...monitor },
  });
}

/** Forgets everything with its second update. */
const forgets: RulePeerOptions['learns'] = (skills, version) =>
  version === 2 ? { '+': 0, '-': 0, '*': 0 } : skills;
/** From its second version on, whatever its weights: sure of itself, and wrong. */
const lies: RulePeerOptions['says'] = (_, version) => (version >= 2 ? 'Surely. The answer is -7' : undefined);

async function startPeers(
  mesh: TestMesh,
  special: Partial<RulePeerOptions>,
  name = 'bee',
): Promise<RulePeer[]> {
  return Promise.all(
    Object.entries(SKILLS).map(([peer, skills]) =>
      mesh.startPeer({ name: peer, skills, ...(peer === name && special) }),
    ),
  );
}

async function complete(mesh: TestMesh, recipe: Recipe, rounds: number): Promise<Run> {
  const client = mesh.client(await mesh.startCoordinator());
  await mesh.startPmi();
  await client.createRun({ requestId: 'r1', spec: testSpec(recipe) });
  await client.submitPrompts({
    runId: 'r1',
    prompts: testPrompts(POOL + rounds * PER_ROUND),
    close: true,
  });
  const run = await untilEnded(client, 'r1');
  assert.equal(run.state, RunState.COMPLETED, run.stateReason);
  return run;
}

/** Which measurements there are, and whom they asked at which version. */
async function places(mesh: TestMesh): Promise<string[]> {
  return (await measured(mesh)).map(
    ({ round, look, peers }) =>
      `${round}-${look}: ${peers.map(({ name, version }) => `${name} ${version}`).join(', ')}`,
  );
}

async function ruled(mesh: TestMesh): Promise<string[]> {
  return (await verdicts(mesh)).map(
    ({ round, peer, version, guard, action }) => `${round} ${peer} ${version} ${guard} ${action}`,
  );
}

describe('the monitor pool', () => {
  it('is asked before every round and after the last, and is in no round', async () => {
    await using mesh = await startTestMesh();
    await startTrio(mesh);
    await complete(mesh, monitored('report', { everyRounds: 2 }), 3);
    assert.deepEqual(await places(mesh), [
      '0-0: ant 0, bee 0, cat 0',
      '2-0: ant 2, bee 2, cat 2',
      '3-0: ant 3, bee 3, cat 3',
    ]);
    const asked = (await generated(mesh)).flatMap(({ items }) => items.map(({ promptId }) => promptId));
    assert.deepEqual(
      asked,
      testPrompts(3 * PER_ROUND, POOL).map(({ promptId }) => promptId),
    );
    const [first] = await measured(mesh);
    assert.deepEqual(
      first.promptIds,
      testPrompts(POOL).map(({ promptId }) => promptId),
    );
    assert.ok(first.peers.every(({ answers }) => answers.length === POOL && answers[0].finalAnswer));
    assert.deepEqual(await ruled(mesh), []);

    const metrics = await mesh.read(STREAMS.events, MetricSchema, filters.events('r1', 'metric'));
    const agreement = metrics.filter(({ name }) => name === 'monitor_frozen_agreement_ratio');
    assert.deepEqual(
      agreement.map(({ labels }) => `${labels['round']} ${labels['peer']} ${labels['version']}`).sort(),
      ['0 ant 0', '0 bee 0', '0 cat 0', '2 ant 2', '2 bee 2', '2 cat 2', '3 ant 3', '3 bee 3', '3 cat 3'],
    );
    assert.ok(metrics.some(({ name }) => name === 'monitor_consistency_ratio'));
  });

  it('keeps its questions out of the rounds, also where they come again, and says so', async () => {
    await using mesh = await startTestMesh();
    await startTrio(mesh);
    const client = mesh.client(await mesh.startCoordinator());
    await mesh.startPmi();
    await client.createRun({ requestId: 'r1', spec: testSpec(monitored('report')) });
    const again = testPrompts(2).map(({ question }, i) => ({
      promptId: `again${i}`,
      question: ` ${question}`,
    }));
    const prompts = [...testPrompts(POOL), ...again, ...testPrompts(PER_ROUND, POOL)];
    await client.submitPrompts({ runId: 'r1', prompts, close: true });
    const run = await untilEnded(client, 'r1');
    assert.equal(run.state, RunState.COMPLETED);
    assert.equal(run.stateReason, '2 prompts ask what the monitor pool asks and took no part');
    const [round, ...more] = await generated(mesh);
    assert.equal(more.length, 0);
    assert.deepEqual(
      round.items.map(({ promptId }) => promptId),
      testPrompts(PER_ROUND, POOL).map(({ promptId }) => promptId),
    );
  });

  it('fails a run that has no prompt beyond it', async () => {
    await using mesh = await startTestMesh();
    await startTrio(mesh);
    const client = mesh.client(await mesh.startCoordinator());
    await client.createRun({ requestId: 'r1', spec: testSpec(monitored('report')) });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(20), close: true });
    const run = await untilEnded(client, 'r1');
    assert.equal(run.state, RunState.FAILED);
    assert.match(run.stateReason, /has 20 prompts, and its recipe takes the first 60 for monitor\.questions/);
  });
});

describe('a peer that turns bad', () => {
  it('rollback: it is restored before it answers a round, and learns no more', async () => {
    await using mesh = await startTestMesh();
    const [, bee] = await startPeers(mesh, { learns: forgets });
    await complete(mesh, monitored('rollback'), 4);
    assert.deepEqual(await ruled(mesh), ['2 bee 2 frozenAgreementDrop rollback-peer']);
    const [{ value, baseline, threshold, message }] = await verdicts(mesh);
    assert.ok(value > 0.3 && baseline! >= value && threshold === 0.1);
    assert.match(
      message,
      /bee: agreement with the vote at the start .* → \d\d?\.\d %, \d+ questions lost and 0 won, p = /,
    );
    const history = await versions(mesh, 'bee');
    assert.deepEqual(
      history.flatMap(({ version, cause }) =>
        cause.case === 'restore' ? [[version, cause.value.restoredVersion]] : [],
      ),
      [[3n, 1n]],
    );
    assert.deepEqual((await places(mesh)).slice(2, 5), [
      '2-0: ant 2, bee 2, cat 2',
      '2-1: bee 3',
      '3-0: ant 3, bee 4, cat 3',
    ]);
    const answered = (await generated(mesh)).map(({ peers }) => peers[1].version);
    assert.deepEqual(answered, [0n, 1n, 3n, 4n], 'no round has an answer of version 2');
    assert.equal(bee.weightsSha256, history[0].weights!.sha256, 'it ends with the weights of version 1');
    const updates = await mesh.read(STREAMS.updates, WeightedUpdateSchema, filters.updates('bee', 'r1'));
    assert.deepEqual(
      updates.map(({ items }) => items.length > 0),
      [true, true, false, false],
    );
  });

  it('also one that takes over another’s mistakes, and agrees with it on everything', async () => {
    await using mesh = await startTestMesh();
    const all = (skill: number) => ({ '+': skill, '-': skill, '*': skill });
    const says = (question: string, version: number) =>
      version >= 2 ? `The answer is ${answerAlone('cat', all(0.4), question)}` : undefined;
    await mesh.startPeer({ name: 'ant', skills: all(0.9) });
    await mesh.startPeer({ name: 'bee', skills: all(0.8), says });
    await mesh.startPeer({ name: 'cat', skills: all(0.4) });
    await complete(mesh, monitored('report'), 2);
    assert.deepEqual(await ruled(mesh), ['2 bee 2 frozenAgreementDrop none']);
    const measurements = await measured(mesh);
    const said = ({ peers }: MonitorMeasured, name: string) =>
      peers.find((peer) => peer.name === name)!.answers.map(({ finalAnswer }) => finalAnswer);
    assert.deepEqual(said(measurements.at(-1)!, 'bee'), said(measurements[0], 'cat'));
  });

  it('rollback: weights that it no longer keeps come from where they were stored', async () => {
    await using mesh = await startTestMesh();
    const [, bee] = await startPeers(mesh, { learns: forgets, keepsOnlyLast: true });
    await complete(mesh, monitored('rollback'), 3);
    const history = await versions(mesh, 'bee');
    assert.equal(history[2].cause.case, 'restore');
    assert.equal(bee.weightsSha256, history[0].weights!.sha256);
  });

  it('rollback: also where generation runs ahead of training', async () => {
    await using mesh = await startTestMesh();
    const [, bee] = await startPeers(mesh, { learns: forgets, latencyMs: 1 });
    const start = bee.weightsSha256;
    const recipe = { ...monitored('rollback'), rounds: { ...testRecipe().rounds, maxStaleness: 1 } };
    await complete(mesh, recipe, 5);
    const [{ peer, action, version }, ...more] = await verdicts(mesh);
    assert.deepEqual([peer, action, more.length], ['bee', 'rollback-peer', 0]);
    assert.ok(version! >= 2n);
    const good = [start, (await versions(mesh, 'bee'))[0].weights!.sha256];
    assert.ok(good.includes(bee.weightsSha256), 'it ends with the weights of version 0 or 1');
  });

  it('with a quorum, one that is lost is not waited for, and is measured before it answers again', async () => {
    await using mesh = await startTestMesh();
    const [, , cat] = await startTrio(mesh);
    const client = mesh.client(await mesh.startCoordinator());
    await mesh.startPmi();
    const recipe = monitored('quarantine');
    const spec = testSpec({ ...recipe, rounds: { ...recipe.rounds, quorum: 2 } });
    await client.createRun({ requestId: 'r1', spec });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(POOL + PER_ROUND) });
    await until(10_000, 'cat to learn', async () => cat.version === 1);
    await cat.kill();
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(PER_ROUND, 200) });
    await until(10_000, 'a round without cat', async () => (await generated(mesh)).length === 2);
    assert.match((await measured(mesh))[1].peers[2].missing!.message, /peer cat/);
    const back = await mesh.startPeer({ name: 'cat', skills: SKILLS['cat'] });
    await until(10_000, 'cat to catch up', async () => back.version === 2);
    await until(10_000, 'the coordinator to notice', async () =>
      (await mesh.read(STREAMS.events, PeerAvailabilitySchema, filters.events('r1', 'peer'))).some(
        ({ peer, available }) => peer === 'cat' && available,
      ),
    );
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(PER_ROUND, 300), close: true });
    assert.equal((await untilEnded(client, 'r1')).state, RunState.COMPLETED);
    assert.deepEqual(
      (await generated(mesh)).map(({ peers }) => peers[2].version),
      [0n, undefined, 2n],
    );
    assert.deepEqual((await places(mesh)).slice(2), ['2-0: ant 2, bee 2, cat 2', '3-0: ant 3, bee 3, cat 3']);
    assert.deepEqual(await ruled(mesh), []);
  });

  it('is judged after the last round too', async () => {
    await using mesh = await startTestMesh();
    const [, bee] = await startPeers(mesh, { learns: forgets });
    await complete(mesh, monitored('rollback'), 2);
    assert.deepEqual(await ruled(mesh), ['2 bee 2 frozenAgreementDrop rollback-peer']);
    assert.equal(bee.weightsSha256, (await versions(mesh, 'bee'))[0].weights!.sha256);
  });

  it('rollback: one that is no better for it is left out', async () => {
    await using mesh = await startTestMesh();
    await startPeers(mesh, { says: lies });
    await complete(mesh, monitored('rollback'), 3);
    assert.deepEqual(await ruled(mesh), [
      '2 bee 2 frozenAgreementDrop rollback-peer',
      '2 bee 3 frozenAgreementDrop quarantine-peer',
    ]);
    assert.equal((await generated(mesh))[2].peers[1].missing?.reason, 'PEER_QUARANTINED');
  });

  it('quarantine: none of its answers enters an aggregate, and nobody waits for it', async () => {
    await using mesh = await startTestMesh();
    // The last to answer: in this recipe, what it says is what all learn.
    const peers = await startPeers(mesh, { says: lies }, 'cat');
    const client = mesh.client(await mesh.startCoordinator());
    await mesh.startPmi();
    await client.createRun({ requestId: 'r1', spec: testSpec(monitored('quarantine')) });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(POOL + 3 * PER_ROUND) });
    await until(10_000, 'cat to be left out', async () => (await generated(mesh)).length === 3);
    assert.deepEqual(await ruled(mesh), ['2 cat 2 frozenAgreementDrop quarantine-peer']);
    await peers[2].kill();
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(PER_ROUND, 200), close: true });
    assert.equal((await untilEnded(client, 'r1')).state, RunState.COMPLETED);

    const rounds = await generated(mesh);
    assert.deepEqual(
      rounds.map(({ peers: [, , cat] }) => cat.missing?.reason ?? cat.version),
      [0n, 1n, 'PEER_QUARANTINED', 'PEER_QUARANTINED'],
    );
    for (const { items } of rounds.slice(2))
      for (const { responses, aggregate } of items) {
        assert.equal(responses[2].outcome.case, 'failure');
        assert.equal(aggregate!.responsePeer, 1);
      }
    const later = peers[2].asked.filter((id) => /^r1\/[23]\//.test(id));
    assert.ok(later.length > 0 && later.every((id) => id.includes('/monitor-')));
    const updates = await mesh.read(STREAMS.updates, WeightedUpdateSchema, filters.updatesOfRun('r1'));
    assert.ok(updates.every(({ items }) => items.every(({ target }) => !target.includes('-7'))));
  });

  it('quarantine: one that repeats itself without end is told by length and form', async () => {
    await using mesh = await startTestMesh();
    const says = (_: string, version: number) => (version >= 1 ? 'and so '.repeat(400) : undefined);
    await startPeers(mesh, { says });
    const recipe = testRecipe({
      guards: { lengthDrift: 0.3, parseableDrop: 0.1, action: 'quarantine' },
      monitor: { questions: 20 },
    });
    await complete(mesh, recipe, 2);
    assert.deepEqual(await ruled(mesh), [
      '1 bee 1 lengthDrift quarantine-peer',
      '1 bee 1 parseableDrop quarantine-peer',
    ]);
  });

  it('pause: the run waits for a person, once for each measurement', async () => {
    await using mesh = await startTestMesh();
    await startPeers(mesh, {
      learns: (skills, version) => (version >= 2 ? { '+': 0, '-': 0, '*': 0 } : skills),
    });
    const client = mesh.client(await mesh.startCoordinator());
    await mesh.startPmi();
    await client.createRun({ requestId: 'r1', spec: testSpec(monitored('pause', { everyRounds: 2 })) });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(POOL + 3 * PER_ROUND), close: true });
    for (const rounds of [2n, 3n]) {
      const paused = await until(10_000, 'a pause', async () => {
        const { run } = await client.getRun({ runId: 'r1' });
        return run!.state === RunState.PAUSED && run!;
      });
      assert.match(paused.stateReason, /^bee: agreement with the vote at the start/);
      assert.equal(paused.progress!.roundsGenerated, rounds);
      await client.resumeRun({ runId: 'r1' });
    }
    assert.equal((await untilEnded(client, 'r1')).state, RunState.COMPLETED);
    assert.deepEqual(await ruled(mesh), [
      '2 bee 2 frozenAgreementDrop pause-run',
      '3 bee 3 frozenAgreementDrop pause-run',
    ]);
  });

  it('is judged alike when the coordinator is killed while it is measured and while it is taken back', async () => {
    const told = async (mesh: TestMesh) => ({
      verdicts: (await verdicts(mesh)).map(({ message }) => message),
      places: await places(mesh),
      rounds: answersOf(await generated(mesh)),
      digests: (await versions(mesh, 'bee')).map(({ version, weights }) => [version, weights!.sha256]),
    });
    await using calm = await startTestMesh();
    await startPeers(calm, { learns: forgets });
    await complete(calm, monitored('rollback'), 3);

    await using mesh = await startTestMesh();
    const peers = await startPeers(mesh, { learns: forgets, latencyMs: 3 });
    await mesh.startPmi();
    let coordinator = await mesh.spawnCoordinator();
    const client = mesh.client(coordinator);
    await client.createRun({ requestId: 'r1', spec: testSpec(monitored('rollback')) });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(POOL + 3 * PER_ROUND), close: true });
    for (const moment of [
      'r1/0/bee/monitor-0-sample',
      'r1/2/bee/monitor-0-greedy',
      'r1/2/bee/monitor-1-greedy',
    ]) {
      await until(15_000, moment, async () => peers[1].asked.some((id) => id.startsWith(moment)));
      await coordinator.kill();
      coordinator = await mesh.spawnCoordinator();
    }
    const after = mesh.client(coordinator);
    assert.equal((await untilEnded(after, 'r1')).state, RunState.COMPLETED);
    assert.deepEqual(await told(mesh), await told(calm));
  });
});

function answersOf(rounds: RoundGenerated[]): unknown {
  return rounds.map(({ round, lastPromptSequence, peers, items }) => ({
    round,
    lastPromptSequence,
    peers,
    items,
  }));
}

describe('clones', () => {
  const alike = { '+': 0.5, '-': 0.5, '*': 0.5 };

  it('are refused by name, unless the recipe wants them', async () => {
    await using mesh = await startTestMesh();
    for (const name of ['ant', 'bee', 'cat'])
      await mesh.startPeer({ name, skills: name === 'ant' ? SKILLS['ant'] : alike });
    const client = mesh.client(await mesh.startCoordinator());
    await assert.rejects(client.createRun({ requestId: 'r1', spec: testSpec() }), {
      code: 'FAILED_PRECONDITION',
      reason: 'PEERS_ALIKE',
      message: /Peers bee and cat have the same weights .* guards\.allowClones/,
    });
    await client.createRun({
      requestId: 'r2',
      spec: testSpec(testRecipe({ guards: { allowClones: true } })),
    });
  });

  it('are found when the run begins if one of them was not there before', async () => {
    await using mesh = await startTestMesh();
    for (const name of ['ant', 'bee'])
      await mesh.startPeer({ name, skills: name === 'ant' ? SKILLS['ant'] : alike });
    const announcements = await openKv(mesh.bus, BUCKETS.peers, PeerAnnouncementSchema);
    await announcements.create('cat', { name: 'cat' });
    const client = mesh.client(await mesh.startCoordinator());
    await client.createRun({ requestId: 'r1', spec: testSpec() });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(8), close: true });
    await mesh.startPeer({ name: 'cat', skills: alike });
    const run = await untilEnded(client, 'r1');
    assert.equal(run.state, RunState.FAILED);
    assert.match(run.stateReason, /Peers bee and cat have the same weights/);
  });
});
