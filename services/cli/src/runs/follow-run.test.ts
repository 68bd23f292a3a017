import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CoordinatorService, RunState } from '@parley/contracts';
import { createClient } from '@parley/runtime';
import { startScriptedCoordinator } from '../fixtures/scripted-coordinator.js';
import { followRun } from './follow-run.js';

const run = { runId: 'r', state: RunState.COMPLETED };
const event = { event: { case: 'run' as const, value: run } };

test('a run that was silent for longer than the patience is followed on after its stream breaks', async () => {
  await using coordinator = await startScriptedCoordinator({
    watches: [[event], [event]],
    run,
    silentMs: 400,
  });
  using client = createClient(CoordinatorService, coordinator.address, { deadlineMs: 5000 });
  let told = 0;
  const ended = await followRun({
    client,
    runId: 'r',
    signal: AbortSignal.timeout(10_000),
    onEvent: () => told++,
    patienceMs: { first: 100, later: 200 },
  });
  assert.equal(ended.state, RunState.COMPLETED);
  assert.equal(told, 2);
});

test('a coordinator that stays away is given up after the patience', async () => {
  await using coordinator = await startScriptedCoordinator({
    watches: [[event], [event]],
    run,
    silentMs: 5000,
  });
  using client = createClient(CoordinatorService, coordinator.address, { deadlineMs: 5000 });
  const following = followRun({
    client,
    runId: 'r',
    signal: AbortSignal.timeout(20_000),
    onEvent: () => void coordinator.close(),
    patienceMs: { first: 100, later: 600 },
  });
  await assert.rejects(following, { reason: 'SERVICE_UNAVAILABLE' });
});
