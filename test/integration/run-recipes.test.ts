import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { STREAMS, filters } from '@parley/bus';
import {
  GuardVerdictSchema,
  MetricSchema,
  PmiService,
  RoundGeneratedSchema,
  RoundScoredSchema,
  RunState,
  VersionCommittedSchema,
  WeightedUpdateSchema,
} from '@parley/contracts';
import { recipeToMessage } from '@parley/mesh';
import { PAPER, TRUST } from '@parley/pst';
import type { Recipe } from '@parley/pst';
import { ParleyError, createClient } from '@parley/runtime';
import type { RulePeer, RulePeerOptions } from '../support/rule-peer.js';
import {
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
const scored = (mesh: TestMesh) => mesh.read(STREAMS.rounds, RoundScoredSchema, 'parley.rounds.scored.r1.*');
const updates = (mesh: TestMesh) => mesh.read(STREAMS.updates, WeightedUpdateSchema, 'parley.updates.*.r1.*');
const verdicts = (mesh: TestMesh) =>
  mesh.read(STREAMS.events, GuardVerdictSchema, filters.events('r1', 'guard'));

/** Runs a recipe to its end. */
async function complete(
  mesh: TestMesh,
  recipe: Recipe,
  prompts: number,
  options: Partial<RulePeerOptions> = {},
): Promise<RulePeer[]> {
  const peers = await startTrio(mesh, options);
  const client = mesh.client(await mesh.startCoordinator());
  await mesh.startPmi();
  await client.createRun({ requestId: 'r1', spec: testSpec(recipe) });
  await client.submitPrompts({ runId: 'r1', prompts: testPrompts(prompts), close: true });
  const run = await untilEnded(client, 'r1');
  assert.equal(run.state, RunState.COMPLETED, run.stateReason);
  return peers;
}

describe('recipes', () => {
  it('trust: independent answers, judged by every peer, trained where a peer disagrees and anchored where not', async () => {
    await using mesh = await startTestMesh();
    const recipe: Recipe = {
      ...TRUST,
      aggregate: {
        ...TRUST.aggregate,
        minMargin: 0.6,
        trust: { ...TRUST.aggregate.trust, clusters: 3, svdDimensions: 3 },
      },
      guards: testRecipe().guards,
      rounds: { ...TRUST.rounds, promptsPerRound: 48, microBatch: 16 },
    };
    await complete(mesh, recipe, 48);
    const [round] = await generated(mesh);
    const accepted = round.items.filter((item) => item.aggregate!.accepted);
    assert.ok(accepted.length > 10 && accepted.length <= 48, `${accepted.length} of 48 accepted`);
    assert.ok(round.items.every((item) => item.aggregate!.strategy === 'trust'));
    assert.ok(accepted.every((item) => item.aggregate!.margin >= 0.6));
    for (const update of await updates(mesh)) {
      const learning = update.items.filter((item) => item.weight > 0);
      const anchored = update.items.filter((item) => item.anchorWeight > 0);
      assert.ok(learning.length > 0 && anchored.length > 0);
      assert.equal(learning.length + anchored.length, update.items.length);
    }
  });

  it('independent support: peers that saw others answer alone too, and lone converts are not trained on', async () => {
    await using mesh = await startTestMesh();
    await complete(
      mesh,
      testRecipe({ guards: { independentSupport: true }, generation: { temperature: 1 } }),
      24,
    );
    const rounds = await generated(mesh);
    const items = rounds.flatMap((round) => round.items);
    for (const item of items) {
      assert.equal(item.responses[0].independent, undefined, 'who answers first saw nobody');
      assert.ok(item.responses[1].independent && item.responses[2].independent);
    }
    const unsupported = items.filter((item) => item.aggregate!.rejection === 'no-independent-support');
    const found = await verdicts(mesh);
    assert.ok(unsupported.length > 0 && found.length > 0);
    assert.ok(
      found.every((verdict) => verdict.guard === 'independentSupport' && verdict.action === 'skip-item'),
    );
  });

  it('answer forms: what is not marked as the recipe says is no answer, and trains nobody', async () => {
    await using mesh = await startTestMesh();
    const forms = (answerForms: Recipe['aggregate']['answerForms']) =>
      testRecipe({ aggregate: { answerForms }, scoredSpan: 'final-answer' });
    await complete(mesh, forms(['boxed', 'marker']), 8);
    const [round] = await generated(mesh);
    for (const { responses, aggregate } of round.items) {
      assert.ok(responses.every(({ finalAnswer }) => finalAnswer === undefined));
      assert.deepEqual([aggregate!.accepted, aggregate!.rejection], [false, 'no-answer']);
    }
    assert.ok((await updates(mesh)).every((update) => update.items.length === 0));

    // A round whose targets have answers of other forms than the recipe's cannot be scored by their final answers.
    using client = createClient(PmiService, (await mesh.startPmi()).address, { deadlineMs: 5000 });
    for (const item of round.items) {
      item.aggregate = {
        ...item.aggregate!,
        accepted: true,
        rejection: '',
        finalAnswer: '7',
        responsePeer: 2,
      };
      item.responses.forEach((response) => (response.finalAnswer = '7'));
    }
    const score = (recipe: Recipe) =>
      client.scoreRound({ round, recipe: recipeToMessage(recipe), seed: 42n });
    await assert.rejects(score(forms(['marker'])), {
      code: 'INVALID_ARGUMENT',
      reason: 'REQUEST_INVALID',
      message: /The target of prompt "q0" has no final answer of the forms marker; score the round with/,
    });
    const { scored: scores } = await score(forms(['marker', 'answer-is']));
    assert.ok(scores!.peers[0].items.every((item) => item.tokens === 1));
  });

  it('a failed answer takes no part in aggregate and weights', async () => {
    await using mesh = await startTestMesh();
    const refused = testPrompts(8)[3];
    const refuses = (question: string) => question === refused.question;
    const peers = await Promise.all([
      mesh.startPeer({ name: 'ant', skills: { '+': 0.9, '-': 0.9, '*': 0.9 } }),
      mesh.startPeer({ name: 'bee', skills: { '+': 0.5, '-': 0.5, '*': 0.5 } }),
      mesh.startPeer({ name: 'cat', skills: { '+': 0.4, '-': 0.5, '*': 0.5 }, refuses }),
    ]);
    const client = mesh.client(await mesh.startCoordinator());
    await mesh.startPmi();
    await client.createRun({ requestId: 'r1', spec: testSpec() });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(8), close: true });
    assert.equal((await untilEnded(client, 'r1')).state, RunState.COMPLETED);
    const [round] = await generated(mesh);
    const item = round.items[3];
    assert.equal(item.responses[2].outcome.case, 'failure');
    assert.equal(item.aggregate!.responsePeer, 1, 'the last that answered makes the aggregate');
    const [scores] = await scored(mesh);
    assert.deepEqual(
      [scores.peers[2].items[3].weight, scores.peers[2].items[3].normalizedPmi],
      [0, undefined],
    );
    const [, , cat] = await updates(mesh);
    assert.equal(cat.items.length, 7);
    assert.equal(peers.length, 3);
  });

  it('stale: generation runs one round ahead, and never further', async () => {
    await using mesh = await startTestMesh();
    await mesh.startPmi();
    const peers = await complete(mesh, testRecipe({ rounds: { maxStaleness: 1 } }), 40, { latencyMs: 3 });
    const rounds = await generated(mesh);
    assert.equal(rounds.length, 5);
    const staleness = rounds.flatMap((round) =>
      round.peers.map((peer) => Number(round.round - peer.version!)),
    );
    assert.ok(staleness.every((lag) => lag === 0 || lag === 1));
    assert.ok(staleness.includes(1), 'generation did run ahead');
    for (const peer of peers) {
      const inOrder = rounds.map(({ round }) => `r1/${round}/${peer.name}`);
      assert.deepEqual(peer.applied, inOrder, 'two scorers keep the updates of a run in order');
    }
  });

  it('publishes what a round took', async () => {
    await using mesh = await startTestMesh();
    await complete(mesh, testRecipe(), 8, { latencyMs: 5 });
    const metrics = await mesh.read(STREAMS.events, MetricSchema, filters.events('r1', 'metric'));
    const of = (name: string) => metrics.filter((metric) => metric.name === name);
    assert.ok(of('round_generate_seconds')[0].value >= 0.06);
    assert.equal(of('peer_busy_ratio').length, 3);
    assert.ok(of('peer_busy_ratio').every(({ value }) => value > 0.2 && value <= 1.01));
    assert.equal(of('round_score_seconds').length, 1);
  });
});

describe('collapse guards', () => {
  /** Loses most of its entropy with its third version. */
  const entropy = (version: number) => (version >= 3 ? 0.01 : 1);

  async function runWith(mesh: TestMesh, action: Recipe['guards']['action']): Promise<RulePeer[]> {
    const guards = { ...testRecipe().guards, entropyDrop: 0.75, action };
    const peers = [
      await mesh.startPeer({ name: 'ant', skills: { '+': 0.9, '-': 0.5, '*': 0.5 } }),
      await mesh.startPeer({ name: 'bee', skills: { '+': 0.5, '-': 0.9, '*': 0.5 }, entropy }),
      await mesh.startPeer({ name: 'cat', skills: { '+': 0.5, '-': 0.5, '*': 0.9 } }),
    ];
    const client = mesh.client(await mesh.startCoordinator());
    await mesh.startPmi();
    await client.createRun({ requestId: 'r1', spec: testSpec(testRecipe({ guards })) });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(40), close: true });
    assert.equal((await untilEnded(client, 'r1')).state, RunState.COMPLETED);
    return peers;
  }
  const learned = async (mesh: TestMesh, peer: string) =>
    (await updates(mesh)).filter((update) => update.peer === peer).map((update) => update.items.length > 0);

  it('stop: a verdict with its numbers, and empty updates from that round on', async () => {
    await using mesh = await startTestMesh();
    await runWith(mesh, 'stop');
    const found = await verdicts(mesh);
    assert.deepEqual(
      found.map(({ peer, round, guard, action, baseline }) => [peer, round, guard, action, baseline]),
      [['bee', 3n, 'entropyDrop', 'stop-peer', 1]],
    );
    assert.ok(found[0].value > 0.9 && found[0].threshold === 0.75);
    assert.match(found[0].message, /bee: entropy .* 1\.000 → 0\.010/);
    assert.deepEqual(await learned(mesh, 'bee'), [true, true, true, false, false]);
    assert.deepEqual(await learned(mesh, 'ant'), [true, true, true, true, true]);
  });

  it('rollback: the peer is also taken back to the version before', async () => {
    await using mesh = await startTestMesh();
    await runWith(mesh, 'rollback');
    const versions = await mesh.read(STREAMS.versions, VersionCommittedSchema, 'parley.versions.bee.*');
    const restored = versions.flatMap(({ cause }) =>
      cause.case === 'restore' ? [cause.value.restoredVersion] : [],
    );
    assert.deepEqual(restored, [2n]);
    const byVersion = new Map(versions.map((entry) => [entry.version, entry.weights!.sha256]));
    assert.equal(byVersion.get(5n), byVersion.get(2n), 'the restored weights are those of version 2');
    assert.deepEqual(await learned(mesh, 'bee'), [true, true, true, false, false]);
  });

  it('takes peers back also when too few are left to learn, which pauses the run', async () => {
    await using mesh = await startTestMesh();
    const guards = { ...testRecipe().guards, entropyDrop: 0.75, action: 'rollback' as const };
    await startTrio(mesh, { entropy: (version) => (version >= 2 ? 0.01 : 1) });
    const client = mesh.client(await mesh.startCoordinator());
    await mesh.startPmi();
    await client.createRun({ requestId: 'r1', spec: testSpec(testRecipe({ guards })) });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(32), close: true });
    const { version } = await until(10_000, 'all three to be taken back', async () => {
      const versions = await mesh.read(STREAMS.versions, VersionCommittedSchema, 'parley.versions.*.*');
      const restores = versions.filter(({ cause }) => cause.case === 'restore');
      return restores.length === 3 && restores[0];
    });
    assert.equal(version, 4n);
    const { run } = await client.getRun({ runId: 'r1' });
    assert.equal(run!.state, RunState.PAUSED);
    assert.match(run!.stateReason, /0 of 3 peers still learn; the run is paused/);
    assert.equal(run!.progress!.roundsGenerated, 3n);
  });

  it('report: a verdict and nothing else', async () => {
    await using mesh = await startTestMesh();
    await runWith(mesh, 'report');
    const found = await verdicts(mesh);
    assert.deepEqual(
      found.map(({ round, action }) => [round, action]),
      [
        [3n, 'none'],
        [4n, 'none'],
      ],
    );
    assert.deepEqual(await learned(mesh, 'bee'), [true, true, true, true, true]);
  });
});

describe('PmiService', () => {
  it('scores a round under every scorer and span without publishing', async () => {
    await using mesh = await startTestMesh();
    await complete(mesh, testRecipe(), 8);
    const [round] = await generated(mesh);
    const before = (await scored(mesh)).length;
    using client = createClient(PmiService, (await mesh.startPmi()).address, { deadlineMs: 5000 });
    const scorers = ['self', 'aggregator', 'mean-of-peers', 'reference'] as const;
    for (const scorer of scorers) {
      for (const scoredSpan of ['full', 'final-answer'] as const) {
        const recipe = recipeToMessage(testRecipe({ scorer, scoredSpan }));
        const { scored: scores, updates: made } = await client.scoreRound({
          round: round,
          recipe,
          seed: 42n,
        });
        const [ant, bee, cat] = scores!.peers;
        for (const item of [...ant.items, ...bee.items]) {
          const pmi = (item.conditionalLogProb! - item.marginalLogProb!) / item.tokens;
          assert.ok(Math.abs(item.normalizedPmi! - pmi) < 1e-9, `${scorer} ${scoredSpan}`);
          assert.equal(item.tokens, scoredSpan === 'full' ? 8 : 1);
        }
        assert.ok(cat.items.every((item) => item.normalizedPmi === undefined));
        const asked = {
          self: 'ant,bee',
          aggregator: 'cat',
          'mean-of-peers': 'ant,bee,cat',
          reference: 'ant,bee',
        };
        assert.equal(Object.keys(scores!.scorerVersions).sort().join(), asked[scorer]);
        const version = scorer === 'reference' ? 0n : 1n;
        assert.ok(Object.values(scores!.scorerVersions).every((found) => found === version));
        assert.deepEqual(
          made.map((update) => update.updateId),
          ['r1/0/ant', 'r1/0/bee', 'r1/0/cat'],
        );
      }
    }
    assert.equal((await scored(mesh)).length, before);
  });

  it('names what it cannot score', async () => {
    await using mesh = await startTestMesh();
    await complete(mesh, testRecipe(), 8);
    const [round] = await generated(mesh);
    using client = createClient(PmiService, (await mesh.startPmi()).address, { deadlineMs: 5000 });
    const recipe = recipeToMessage(PAPER);
    const peers = round.peers.map((peer) => ({ ...peer, name: `${peer.name}x` }));
    await assert.rejects(client.scoreRound({ round: { ...round, peers }, recipe }), {
      code: 'NOT_FOUND',
      reason: 'PEER_UNKNOWN',
      message: /antx, beex, catx/,
    });
    await assert.rejects(client.scoreRound({ recipe }), { reason: 'REQUEST_INVALID', message: /no round/ });
    await assert.rejects(client.scoreRound({ round: { ...round, peers: peers.slice(1) }, recipe }), {
      reason: 'REQUEST_INVALID',
      message: /round\.items\[0\] has 3 responses for 2 peers/,
    });
    const [item] = round.items;
    for (const order of [
      [0, 1],
      [0, 1, 1],
      [0, 1, 3],
    ]) {
      await assert.rejects(client.scoreRound({ round: { ...round, items: [{ ...item, order }] }, recipe }), {
        reason: 'REQUEST_INVALID',
        message: new RegExp(
          `round\\.items\\[0\\] has the order ${order.join(', ')}; it must name each of the 3`,
        ),
      });
    }
    const aggregate = { ...item.aggregate!, responsePeer: 3 };
    await assert.rejects(
      client.scoreRound({ round: { ...round, items: [{ ...item, aggregate }] }, recipe }),
      {
        reason: 'REQUEST_INVALID',
        message: /takes its aggregate from peer 3, but there are 3/,
      },
    );
  });

  it('ends the run, with the cause, where a round can never be scored', async () => {
    await using mesh = await startTestMesh();
    const failScore = () => new ParleyError('TOKENIZER_MISMATCH', 'there is no end token');
    await startTrio(mesh, { failScore });
    const client = mesh.client(await mesh.startCoordinator());
    await mesh.startPmi();
    await client.createRun({ requestId: 'r1', spec: testSpec() });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(16), close: true });
    const run = await untilEnded(client, 'r1');
    assert.equal(run.state, RunState.FAILED);
    assert.match(run.stateReason, /round 0 cannot be scored: there is no end token \(from peer \w+ at/);
    assert.ok(
      run.updateTime!.seconds >= run.createTime!.seconds && run.updateTime!.nanos !== run.createTime!.nanos,
    );
    assert.equal((await updates(mesh)).length, 0);
  });

  it('repeats a score that fails, and never takes it for a zero', async () => {
    await using mesh = await startTestMesh();
    let failures = 3;
    const failScore = () => (failures-- > 0 ? new ParleyError('SHUTTING_DOWN', 'not now') : undefined);
    await complete(mesh, testRecipe(), 8, { failScore });
    const [scores] = await scored(mesh);
    assert.ok(
      scores.peers.slice(0, 2).every((peer) => peer.items.every((item) => item.normalizedPmi !== undefined)),
    );
    assert.ok(failures < 0);
  });
});
