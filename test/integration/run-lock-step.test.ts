import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { STREAMS } from '@parley/bus';
import { RoundGeneratedSchema, RoundScoredSchema, RunState, WeightedUpdateSchema } from '@parley/contracts';
import {
  startTestMesh,
  startTrio,
  testPrompts,
  testRecipe,
  testSpec,
  untilEnded,
} from '../support/test-mesh.js';

describe('a lock-step run', () => {
  it('asks, scores and trains round by round until every update is applied', async () => {
    await using mesh = await startTestMesh();
    const peers = await startTrio(mesh);
    const client = mesh.client(await mesh.startCoordinator());
    await mesh.startPmi();
    await client.createRun({ requestId: 'r1', spec: testSpec() });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(20), close: true });
    const run = await untilEnded(client, 'r1');

    assert.equal(run.state, RunState.COMPLETED, run.stateReason);
    const { progress } = run;
    assert.deepEqual(
      [progress?.promptsSubmitted, progress?.roundsGenerated, progress?.roundsScored],
      [20n, 3n, 3n],
    );
    assert.deepEqual([progress?.updatesPublished, progress?.updatesApplied], [9n, 9n]);
    for (const peer of peers) {
      assert.deepEqual(
        peer.applied,
        [0, 1, 2].map((round) => `r1/${round}/${peer.name}`),
      );
      assert.equal(
        progress?.peers.find((entry) => entry.peer === peer.name)?.weightsSha256,
        peer.weightsSha256,
      );
    }

    const rounds = await mesh.read(STREAMS.rounds, RoundGeneratedSchema, 'parley.rounds.generated.r1.*');
    assert.deepEqual(
      rounds.map((round) => round.items.length),
      [8, 8, 4],
    );
    assert.deepEqual(
      rounds.flatMap((round) => round.items.map((item) => item.promptId)),
      testPrompts(20).map((prompt) => prompt.promptId),
    );
    rounds.forEach((round, index) => {
      assert.deepEqual(
        round.peers.map((peer) => peer.version),
        [BigInt(index), BigInt(index), BigInt(index)],
      );
      assert.ok(round.items.every((item) => item.aggregate?.accepted && item.aggregate.responsePeer === 2));
    });
    const scored = await mesh.read(STREAMS.rounds, RoundScoredSchema, 'parley.rounds.scored.r1.*');
    const [first] = scored;
    assert.ok(first.peers[0].items.every((item) => item.normalizedPmi !== undefined && item.weight > 0));
    assert.ok(
      first.peers[2].items.every((item) => item.normalizedPmi === undefined && item.weight === 1),
      'the author of the aggregate has no PMI',
    );
    const updates = await mesh.read(STREAMS.updates, WeightedUpdateSchema, 'parley.updates.ant.r1.*');
    assert.ok(
      updates[0].items.every((item, i) => item.target === outcomeText(rounds[0].items[i].responses[2])),
    );
  });

  it('comes to the same weights again, whatever its peers take for an answer', async () => {
    const digests = async (latencyMs: number): Promise<string[]> => {
      await using mesh = await startTestMesh();
      const peers = await startTrio(mesh, { latencyMs });
      const client = mesh.client(await mesh.startCoordinator());
      await mesh.startPmi();
      const recipe = testRecipe({ order: 'random', generation: { temperature: 1 } });
      await client.createRun({ requestId: 'r1', spec: testSpec(recipe) });
      await client.submitPrompts({ runId: 'r1', prompts: testPrompts(16), close: true });
      await untilEnded(client, 'r1');
      return peers.map((peer) => peer.weightsSha256);
    };
    assert.deepEqual(await digests(0), await digests(3));
  });
});

function outcomeText({ outcome }: { outcome: { case?: string; value?: unknown } }): string {
  assert.equal(outcome.case, 'completion');
  return (outcome.value as { text: string }).text;
}
