import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { STREAMS } from '@parley/bus';
import { PromptEventSchema, RunState } from '@parley/contracts';
import type { WatchRunResponse } from '@parley/contracts';
import {
  startTestMesh,
  startTrio,
  testPrompts,
  testRecipe,
  testSpec,
  until,
  untilEnded,
} from '../support/test-mesh.js';
import type { CoordinatorClient, TestMesh } from '../support/test-mesh.js';

async function startService(mesh: TestMesh): Promise<CoordinatorClient> {
  await startTrio(mesh);
  return mesh.client(await mesh.startCoordinator());
}

describe('CoordinatorService', () => {
  it('creates a run once for one request id, and refuses the id to another run', async () => {
    await using mesh = await startTestMesh();
    const client = await startService(mesh);
    const [a, b] = await Promise.all([
      client.createRun({ requestId: 'r1', spec: testSpec() }),
      client.createRun({ requestId: 'r1', spec: testSpec() }),
    ]);
    assert.deepEqual(a.run!.createTime, b.run!.createTime);
    assert.equal((await client.listRuns({})).runs.length, 1);
    const other = { ...testSpec(), seed: 7n };
    await assert.rejects(client.createRun({ requestId: 'r1', spec: other }), {
      reason: 'REQUEST_INVALID',
      message: /Run r1 exists with another specification; choose another request_id/,
    });
  });

  it('names what is wrong with a run', async () => {
    await using mesh = await startTestMesh();
    const client = await startService(mesh);
    const create = (spec: ReturnType<typeof testSpec>, requestId = 'r1') =>
      client.createRun({ requestId, spec });
    await assert.rejects(create(testSpec(testRecipe(), ['ant', 'dog', 'eel'])), {
      code: 'NOT_FOUND',
      reason: 'PEER_UNKNOWN',
      message: /Nobody has announced peer dog, eel; start it first \(announced are: ant, bee, cat\)/,
    });
    const contradictory = testRecipe({
      weight: { min: 3, max: 2 },
      rounds: { quorum: 4 },
      generation: { context: 'independent' },
    });
    await assert.rejects(
      create(testSpec(contradictory)),
      (error: Error & { code: string; reason: string }) => {
        assert.deepEqual([error.code, error.reason], ['INVALID_ARGUMENT', 'RECIPE_INVALID']);
        for (const path of ['weight.min', 'rounds.quorum', 'aggregate.strategy']) {
          assert.ok(error.message.includes(path), `${path} is missing in: ${error.message}`);
        }
        return true;
      },
    );
    const guards = { ...testRecipe().guards, frozenAgreementDrop: 0.03, canaryDrop: 0.1 };
    await assert.rejects(create(testSpec(testRecipe({ guards }))), (error: Error & { reason: string }) => {
      assert.equal(error.reason, 'RECIPE_INVALID');
      for (const guard of ['frozenAgreementDrop', 'canaryDrop'])
        assert.match(
          error.message,
          new RegExp(`guards\\.${guard} is measured on the monitor pool, and monitor\\.questions is 0`),
        );
      return true;
    });
    const spec = testSpec();
    await assert.rejects(create({ ...spec, recipe: { ...spec.recipe, order: 'sideways' } as never }), {
      reason: 'RECIPE_INVALID',
      message: /order must be one of fixed, rotated, random, not "sideways"/,
    });
    await assert.rejects(create({ ...spec, recipe: undefined as never }), {
      message: /generation\.context is missing/,
    });
    await assert.rejects(create(testSpec(testRecipe(), ['ant', 'ant'])), {
      message: /names ant more than once/,
    });
    await assert.rejects(create(testSpec(testRecipe(), ['ant'])), { message: /at least two/ });
    await assert.rejects(create(spec, 'no spaces'), { reason: 'NAME_INVALID', message: /"no spaces"/ });
    await assert.rejects(client.getRun({ runId: 'r1' }), { code: 'NOT_FOUND', reason: 'RUN_UNKNOWN' });
  });

  it('keeps a peer out of a second run until the first has ended', async () => {
    await using mesh = await startTestMesh();
    const client = await startService(mesh);
    await client.createRun({ requestId: 'r1', spec: testSpec(testRecipe(), ['ant', 'bee']) });
    const second = testSpec(testRecipe(), ['bee', 'cat']);
    await assert.rejects(client.createRun({ requestId: 'r2', spec: second }), {
      code: 'FAILED_PRECONDITION',
      reason: 'PEER_BUSY',
      message: /Peer bee learns in run r1; stop that run or wait/,
    });
    const { peers } = await client.listPeers({});
    assert.deepEqual(
      peers.map((peer) => [peer.announcement!.name, peer.available, peer.runId]),
      [
        ['ant', true, 'r1'],
        ['bee', true, 'r1'],
        ['cat', true, ''],
      ],
    );
    await client.stopRun({ runId: 'r1', reason: 'enough' });
    await client.createRun({ requestId: 'r2', spec: second });
  });

  it('takes a prompt once, names a bad one, and none after the end', async () => {
    await using mesh = await startTestMesh();
    const client = await startService(mesh);
    await client.createRun({ requestId: 'r1', spec: testSpec() });
    const submit = (prompts: ReturnType<typeof testPrompts>, close = false) =>
      client.submitPrompts({ runId: 'r1', prompts, close });
    const counts = async (work: ReturnType<typeof submit>) => {
      const { accepted, duplicates } = await work;
      return [accepted, duplicates];
    };
    assert.deepEqual(await counts(submit(testPrompts(5))), [5, 0]);
    assert.deepEqual(await counts(submit(testPrompts(7))), [2, 5]);
    await assert.rejects(submit([...testPrompts(2), { promptId: 'q99', question: '  ' }]), {
      code: 'INVALID_ARGUMENT',
      reason: 'REQUEST_INVALID',
      message: /prompts\[2\] \("q99"\) has an empty question; leave it out/,
    });
    await assert.rejects(submit([{ promptId: '', question: 'Why?' }]), {
      message: /prompts\[0\] has no prompt_id/,
    });
    assert.deepEqual(await counts(submit([], true)), [0, 0]);
    assert.deepEqual(await counts(submit(testPrompts(3), true)), [0, 3]);
    await assert.rejects(submit(testPrompts(1, 50)), {
      code: 'FAILED_PRECONDITION',
      reason: 'RUN_STATE_CONFLICT',
      message: /prompts of run r1 are closed, and "q50" is new/,
    });
    const stored = await mesh.read(STREAMS.prompts, PromptEventSchema, 'parley.prompts.r1');
    const ids = stored.flatMap(({ event }) => (event.case === 'prompt' ? [event.value.promptId] : []));
    assert.deepEqual(
      ids,
      testPrompts(7).map((prompt) => prompt.promptId),
    );
    assert.deepEqual(
      stored.flatMap(({ event }) => (event.case === 'closed' ? [event.value.prompts] : [])),
      [7n],
    );
  });

  it('pauses between rounds, goes on, and stops for good', async () => {
    await using mesh = await startTestMesh();
    const client = await startService(mesh);
    await mesh.startPmi();
    await client.createRun({ requestId: 'r1', spec: testSpec() });
    await assert.rejects(client.resumeRun({ runId: 'r1' }), {
      code: 'FAILED_PRECONDITION',
      reason: 'RUN_STATE_CONFLICT',
      message: /Run r1 is RUNNING and cannot resume; only a paused run can/,
    });
    const { run: paused } = await client.pauseRun({ runId: 'r1', reason: 'lunch' });
    assert.deepEqual([paused!.state, paused!.stateReason], [RunState.PAUSED, 'lunch']);
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(16) });
    await new Promise((resolve) => setTimeout(resolve, 300));
    const rounds = async () => (await client.getRun({ runId: 'r1' })).run!.progress!.roundsGenerated;
    assert.equal(await rounds(), 0n);
    await client.resumeRun({ runId: 'r1' });
    await until(5000, 'two rounds', async () => (await rounds()) === 2n);
    await client.stopRun({ runId: 'r1' });
    const stopped = await untilEnded(client, 'r1');
    assert.deepEqual([stopped.state, stopped.stateReason], [RunState.STOPPED, 'stopped by an operator']);
    await assert.rejects(client.submitPrompts({ runId: 'r1', prompts: testPrompts(1, 90) }), {
      reason: 'RUN_STATE_CONFLICT',
      message: /Run r1 has ended .* takes no more prompts/,
    });
    const { duplicates } = await client.submitPrompts({ runId: 'r1', prompts: testPrompts(16) });
    assert.equal(duplicates, 16, 'what the run has may be sent again: its answer may have been lost');
    await assert.rejects(client.submitPrompts({ runId: 'r1', prompts: [], close: true }), {
      reason: 'RUN_STATE_CONFLICT',
    });
    await assert.rejects(client.pauseRun({ runId: 'r1' }), { message: /has ended: create a new run/ });
  });

  it('tells a watcher everything from the beginning to the end', async () => {
    await using mesh = await startTestMesh();
    const client = await startService(mesh);
    await client.createRun({ requestId: 'r1', spec: testSpec() });
    const watched = (async () => {
      const events: WatchRunResponse['event'][] = [];
      for await (const { event } of client.watchRun({ runId: 'r1' })) events.push(event);
      return events;
    })();
    await mesh.startPmi();
    await client.submitPrompts({ runId: 'r1', prompts: testPrompts(16), close: true });
    const events = await watched;
    const of = (kind: string) => events.filter((event) => event.case === kind);
    assert.equal(events[0].case, 'run');
    const last = events.at(-1)!;
    assert.ok(last.case === 'run' && last.value.state === RunState.COMPLETED);
    assert.equal(of('roundGenerated').length, 2);
    assert.equal(of('roundScored').length, 2);
    assert.equal(of('versionCommitted').length, 6);
    const [scored] = of('roundScored');
    assert.ok(scored?.case === 'roundScored' && 'ant' in scored.value.meanNormalizedPmi);
    assert.equal(scored.value.items, 8);

    const after: string[] = [];
    for await (const { event } of client.watchRun({ runId: 'r1' })) after.push(event.case!);
    assert.deepEqual(after, ['run']);
  });

  it('lists runs newest first, page by page', async () => {
    await using mesh = await startTestMesh();
    const client = await startService(mesh);
    for (const requestId of ['r1', 'r2', 'r3']) {
      await client.createRun({ requestId, spec: testSpec() });
      await client.stopRun({ runId: requestId });
    }
    const first = await client.listRuns({ pageSize: 2 });
    const second = await client.listRuns({ pageSize: 2, pageToken: first.nextPageToken });
    assert.deepEqual(
      [first, second].map((page) => page.runs.map((run) => run.runId)),
      [['r3', 'r2'], ['r1']],
    );
    assert.equal(second.nextPageToken, '');
    await assert.rejects(client.listRuns({ pageSize: 501 }), { reason: 'REQUEST_INVALID' });
    await assert.rejects(client.listRuns({ pageToken: 'r2' }), {
      code: 'INVALID_ARGUMENT',
      message: /page_token is none that ListRuns gave/,
    });
  });
});
