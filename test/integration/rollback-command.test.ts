import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { STREAMS, filters } from '@parley/bus';
import { RunState, VersionCommittedSchema } from '@parley/contracts';
import { run } from '../support/launch.js';
import type { Exit } from '../support/launch.js';
import {
  startTestMesh,
  startTrio,
  testPrompts,
  testRecipe,
  testSpec,
  until,
  untilEnded,
} from '../support/test-mesh.js';

describe('parley rollback', () => {
  it('makes a new version with the weights of an old one, and leaves a run that goes on alone', async () => {
    await using mesh = await startTestMesh();
    const [ant, bee] = await startTrio(mesh);
    const coordinator = await mesh.startCoordinator();
    const client = mesh.client(coordinator);
    await mesh.startPmi();
    const cli = async (...args: string[]): Promise<Exit> =>
      run('cli', { PARLEY_NATS_URL: mesh.nats.url, PARLEY_COORDINATOR: coordinator.address }, args);
    const recipe = testRecipe({ monitor: { questions: 12 }, guards: { action: 'report' } });
    await client.createRun({ requestId: 'r1', spec: testSpec(recipe) });
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(12 + 16) });
    await until(10_000, 'two versions', async () => bee.version === 2 && ant.version === 2);

    const busy = await cli('rollback', 'bee', '--to', '1');
    assert.equal(busy.code, 1, busy.stderr);
    assert.match(
      busy.stderr,
      /Peer bee learns in run r1, which goes on; pause or stop the run, or say --force/,
    );
    await client.submitPrompts({ runId: 'r1', prompts: [], close: true });
    assert.equal((await untilEnded(client, 'r1')).state, RunState.COMPLETED);

    const committed = async () =>
      mesh.read(STREAMS.versions, VersionCommittedSchema, filters.versions('bee'));
    const [first, second] = (await committed()).map(({ weights }) => weights!.sha256);
    const done = await cli('rollback', 'bee', '--to', '1', '--reason', 'a test', '--json');
    assert.equal(done.code, 0, done.stderr);
    assert.deepEqual(JSON.parse(done.stdout), {
      peer: 'bee',
      from: { version: 2, weightsSha256: second },
      to: { version: 3, weightsSha256: first },
      restored: 1,
    });
    const { cause } = (await committed())[2];
    assert.deepEqual(cause.case === 'restore' && [cause.value.restoredVersion, cause.value.reason], [
      1n,
      'a test',
    ]);

    // Version 2 was measured after the last round, and is good.
    const good = await cli('rollback', 'bee', '--last-good');
    assert.match(good.stdout, /^bee: version 3 → 4, with the weights of version 2\nSHA-256 /);
    assert.equal(bee.weightsSha256, second);

    const unknown = await cli('rollback', 'bee', '--to', '9');
    assert.equal(unknown.code, 2, unknown.stderr);
    assert.match(unknown.stderr, /Peer bee has no version 9; there are 0 to 4/);
    const nobody = await cli('rollback', 'dog', '--to', '1');
    assert.match(nobody.stderr, /No peer dog is up in this mesh; there are: ant, bee, cat/);
    const direct = await cli('rollback', 'ant', '--to', '0', '--peer-address', `127.0.0.1:${ant.port}`);
    assert.match(direct.stdout, /^ant: version 2 → 3, with the weights of version 0/);
  });
});
