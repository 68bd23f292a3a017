import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { CoordinatorService, RunSchema, RunState } from '@parley/contracts';
import {
  ParleyError,
  createClient,
  createSilentLog,
  implement,
  pause,
  startGrpcServer,
} from '@parley/runtime';
import { followRun } from './follow-run.js';

const completed = create(RunSchema, { runId: 'r', state: RunState.COMPLETED });

/** A coordinator whose streams say one thing, are silent for `silentMs`, and break until `breaks` have. */
async function startSilent(silentMs: number, breaks: number) {
  let streams = 0;
  const unused = () => Promise.reject(new Error('not asked here'));
  const service = implement(CoordinatorService, {
    createRun: unused,
    listRuns: unused,
    submitPrompts: unused,
    pauseRun: unused,
    resumeRun: unused,
    stopRun: unused,
    listPeers: unused,
    async *watchRun(_, { signal }) {
      yield { event: { case: 'run' as const, value: completed } };
      if (streams++ >= breaks) return;
      await pause(silentMs, signal);
      throw new ParleyError('SHUTTING_DOWN', 'this coordinator goes');
    },
    getRun: async () => ({ run: completed }),
  });
  return await startGrpcServer({ host: '127.0.0.1', port: 0, services: [service], log: createSilentLog() });
}

test('a run that was silent for longer than the patience is followed on after its stream breaks', async () => {
  await using server = await startSilent(400, 1);
  using client = createClient(CoordinatorService, server.address, { deadlineMs: 5000 });
  let told = 0;
  const run = await followRun({
    client,
    runId: 'r',
    signal: AbortSignal.timeout(10_000),
    onEvent: () => told++,
    patienceMs: { first: 100, later: 200 },
  });
  assert.equal(run.state, RunState.COMPLETED);
  assert.equal(told, 2);
});

test('a coordinator that stays away is given up after the patience', async () => {
  const server = await startSilent(50, 1);
  using client = createClient(CoordinatorService, server.address, { deadlineMs: 5000 });
  const following = followRun({
    client,
    runId: 'r',
    signal: AbortSignal.timeout(20_000),
    onEvent: () => void server.close(),
    patienceMs: { first: 100, later: 600 },
  });
  await assert.rejects(following, { reason: 'SERVICE_UNAVAILABLE' });
});
