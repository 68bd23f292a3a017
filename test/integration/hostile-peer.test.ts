import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { create, toBinary } from '@bufbuild/protobuf';
import { BUCKETS, STREAMS, filters } from '@parley/bus';
import { PeerAnnouncementSchema, RoundGeneratedSchema, RunState } from '@parley/contracts';
import { startTestMesh, startTrio, testPrompts, testSpec, untilEnded } from '../support/test-mesh.js';
import type { TestMesh } from '../support/test-mesh.js';

/** Everything that the permissions of NATS let the peer "bee" write, filled with what no peer of Parley writes. */
async function writeNonsense({ bus }: TestMesh, round: number): Promise<void> {
  const nonsense = new Uint8Array([255, 255, 255]);
  const subjects = [
    `parley.versions.bee.${900 + round}`,
    'parley.events.r1.rejected.peer-bee',
    'parley.events.r1.peer.peer-bee',
    `$KV.${BUCKETS.peers}.bee2`,
  ];
  for (const subject of subjects) await bus.js.publish(subject, nonsense);
  const lie = create(PeerAnnouncementSchema, { name: 'ant', address: '127.0.0.1:1' });
  await bus.js.publish(`$KV.${BUCKETS.peers}.bee3`, toBinary(PeerAnnouncementSchema, lie));
}

describe('a peer that writes nonsense wherever it may', () => {
  it('ends neither a run nor a coordinator, new or old, and takes nobody’s place', async () => {
    await using mesh = await startTestMesh();
    await startTrio(mesh);
    await writeNonsense(mesh, 0);
    const client = mesh.client(await mesh.startCoordinator());
    await mesh.startPmi();
    await client.createRun({ requestId: 'r1', spec: testSpec() });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(8) });
    await writeNonsense(mesh, 1);
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(8, 8), close: true });
    const run = await untilEnded(client, 'r1');
    assert.equal(run.state, RunState.COMPLETED, run.stateReason);
    assert.deepEqual([run.progress!.updatesPublished, run.progress!.updatesApplied], [6n, 6n]);
    assert.equal((await mesh.read(STREAMS.rounds, RoundGeneratedSchema, filters.generated('r1'))).length, 2);

    // One that starts now reads everything from the beginning.
    const later = mesh.client(await mesh.startCoordinator());
    const { peers } = await later.listPeers({});
    assert.deepEqual(
      peers.map(({ announcement, available }) => [announcement?.name, available]),
      [
        ['ant', true],
        ['bee', true],
        ['cat', true],
      ],
    );
  });
});
