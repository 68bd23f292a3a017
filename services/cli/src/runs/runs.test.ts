import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { DescribeResponseSchema, RunSchema, RunState, WatchRunResponseSchema } from '@parley/contracts';
import type { WatchRunResponseSchema as Watch } from '@parley/contracts';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { PAPER } from '@parley/pst';
import { startScriptedCoordinator } from '../fixtures/scripted-coordinator.js';
import { runCommandLine } from '../fixtures/test-cli.js';
import { stateFolder } from '../mesh/state-folder.js';
import { describeEvent } from './describe-event.js';
import { createRunRecorder } from './run-recorder.js';
import { createRunRecord, writeRunRecord } from './run-record.js';
import { renderRunSummary } from './run-summary.js';
import { storedRecords } from './stored-records.js';
import { newRunId } from './submit-run.js';

type WatchInit = MessageInitShape<typeof Watch>;

const COMPLETED = { runId: 'run-1', state: RunState.COMPLETED };
const generated: WatchInit = {
  event: {
    case: 'roundGenerated',
    value: { round: 0n, items: 8, accepted: 7, agreement: 0.5, seconds: 1.25, missingPeers: ['bee'] },
  },
};
const scored: WatchInit = {
  event: {
    case: 'roundScored',
    value: { round: 0n, items: 8, seconds: 0.5, meanNormalizedPmi: { ant: 0.123 } },
  },
};
const version = (number: bigint, round: bigint, steps: number): WatchInit => ({
  event: {
    case: 'versionCommitted',
    value: {
      peer: 'ant',
      version: number,
      cause: { case: 'update', value: { updateId: `run-1/${round}/ant`, runId: 'run-1', round } },
      report: { steps, items: 8, meanLoss: 0.5 - Number(round) / 10, seconds: 2 },
    },
  },
});
const lost: WatchInit = {
  event: {
    case: 'peerAvailability',
    value: { peer: 'bee', phase: 'generate', cause: { message: 'no answer' } },
  },
};
const back: WatchInit = { event: { case: 'peerAvailability', value: { peer: 'bee', available: true } } };

const eventOf = (init: WatchInit) => create(WatchRunResponseSchema, init).event;

test('events read as sentences', () => {
  assert.deepEqual(
    [generated, scored, version(1n, 0n, 3), version(2n, 1n, 0), lost, back].map((one) =>
      describeEvent(eventOf(one)),
    ),
    [
      'round 0 answered: 8 questions, 7 accepted, all agree on 50 %, without bee, 1.3 s',
      'round 0 scored: mean PMI ant 0.12 nats a token, 0.5 s',
      'ant version 1 from round 0: 3 steps on 8 questions, loss 0.500, 2.0 s',
      'ant version 2 from round 1: nothing to learn',
      'bee cannot go on (generate): no answer',
      'bee goes on',
    ],
  );
});

test('the same event twice counts once, but a peer may be lost again', () => {
  const recorder = createRunRecorder();
  const added = [
    generated,
    generated,
    scored,
    version(1n, 0n, 3),
    version(1n, 0n, 3),
    lost,
    lost,
    back,
    lost,
  ].map((one) => recorder.add(eventOf(one)));
  assert.deepEqual(added, [true, false, true, true, false, true, false, true, true]);
  assert.equal(recorder.updatesApplied(), 1);
  const { rounds, unavailable } = recorder.history();
  assert.equal(unavailable.length, 3);
  assert.equal(rounds.length, 1);
  assert.deepEqual(
    [rounds[0]?.accepted, rounds[0]?.scoreSeconds, rounds[0]?.updates['ant']?.version],
    [7, 0.5, 1],
  );
});

test('watch follows a run across a broken stream to its end', async () => {
  const watches = [
    [generated, scored],
    [scored, version(1n, 0n, 3), { event: { case: 'run' as const, value: COMPLETED } }],
  ];
  await using coordinator = await startScriptedCoordinator({ watches, run: COMPLETED });
  const args = ['watch', 'run-1', '--coordinator', coordinator.address];
  const { code, stdout, stderr } = await runCommandLine(args, { cwd: tmpdir() });
  assert.equal(code, 0, stderr);
  assert.deepEqual(stdout.split('\n').slice(0, -1), [
    'round 0 answered: 8 questions, 7 accepted, all agree on 50 %, without bee, 1.3 s',
    'round 0 scored: mean PMI ant 0.12 nats a token, 0.5 s',
    'ant version 1 from round 0: 3 steps on 8 questions, loss 0.500, 2.0 s',
    'run run-1 completed',
  ]);
  assert.match(stderr, /trying again: the coordinator is being restarted/);
});

test('watch exits with 1 if the run failed, with 2 if there is none, and prints events as JSON', async () => {
  const run = { runId: 'run-1', state: RunState.FAILED, stateReason: 'the disk is full' };
  await using coordinator = await startScriptedCoordinator({ watches: [[scored]], run });
  const where = ['--coordinator', coordinator.address];
  const failed = await runCommandLine(['watch', 'run-1', '--json', ...where], { cwd: tmpdir() });
  assert.equal(failed.code, 1);
  assert.match(failed.stderr, /Run run-1 failed: the disk is full/);
  const [first = ''] = failed.stdout.split('\n');
  assert.deepEqual((JSON.parse(first) as { roundScored: { items: number } }).roundScored.items, 8);
  const unknown = await runCommandLine(['watch', 'run-2', ...where], { cwd: tmpdir() });
  assert.equal(unknown.code, 2);
  assert.match(unknown.stderr, /No run run-2/);
});

test('peers shows who answers and what they do', async () => {
  await using coordinator = await startScriptedCoordinator({ watches: [], run: COMPLETED });
  const { stdout } = await runCommandLine(['peers', '--coordinator', coordinator.address], { cwd: tmpdir() });
  assert.equal(
    stdout,
    `peer  address  architecture      parameters  trains  device  version  now              busy  run
──────────────────────────────────────────────────────────────────────────────────────────────────
ant   host:1   LlamaForCausalLM       450 k  full    cpu           4  idle             25 %  run-1
bee   host:2   –                          –  –       –             –  does not answer     –
`,
  );
});

test('a run is stopped before its first question if a peer stays away for too long', async () => {
  await using coordinator = await startScriptedCoordinator({ watches: [], run: COMPLETED });
  const args = ['run', '--questions', '-', '--peer', 'ant', '--peer', 'bee', '--peer-wait', '1500ms'];
  const { code, stdout, stderr } = await runCommandLine([...args, '--coordinator', coordinator.address], {
    cwd: tmpdir(),
    stdin: 'why?',
  });
  assert.equal(code, 3, stderr);
  assert.equal(stdout, '');
  assert.match(stderr, /Waiting up to 2 s for bee to answer/);
  assert.match(stderr, /Peer bee does not answer; start it again, or leave it out/);
  assert.deepEqual(coordinator.asked, ['createRun', 'stopRun']);
});

test('a record is written, listed and summarised', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'parley-runs-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const recorder = createRunRecorder();
  for (const one of [generated, version(1n, 0n, 3), version(2n, 1n, 2)]) recorder.add(eventOf(one));
  const description = { name: 'ant', architecture: 'LlamaForCausalLM', parameters: 9n };
  const record = createRunRecord({
    run: create(RunSchema, {
      ...COMPLETED,
      spec: { title: 'mine', seed: 7n },
      progress: { roundsGenerated: 2n, updatesPublished: 2n, updatesApplied: 2n },
    }),
    recipe: PAPER,
    prompts: [{ promptId: 'a', question: 'why?' }],
    before: [create(DescribeResponseSchema, description)],
    after: [create(DescribeResponseSchema, { ...description, version: 2n })],
    history: recorder.history(),
    startTime: new Date(0),
    endTime: new Date(90_000),
    extra: { demo: { result: 1 } },
  });
  const state = stateFolder(join(folder, '.parley'));
  const path = await writeRunRecord(state.run('run-1'), record);
  assert.deepEqual(JSON.parse(await readFile(path, 'utf8')), record);
  assert.deepEqual(
    (await storedRecords(state)).map(({ runId }) => runId),
    ['run-1'],
  );
  assert.equal(
    renderRunSummary(record),
    `peer  architecture      version  items learnt           loss
────────────────────────────────────────────────────────────
ant   LlamaForCausalLM    0 → 2            16  0.500 → 0.400

2 rounds on 1 question; all agreed on 50.0 % → –
2 updates published, 2 applied, in 1 min 30 s`,
  );
  const { stdout } = await runCommandLine(['runs'], { cwd: folder });
  assert.match(stdout, /^run-1 +completed +1970-01-01 00:00:00 +ant +paper +1 +2 +2\/2$/m);
});

test('run ids sort by time and are valid names', () => {
  const id = newRunId('demo', new Date('2026-11-23T17:05:09.123Z'), () => 0.5);
  assert.equal(id, 'demo-20261123-170509-8000');
  assert.match(id, /^[A-Za-z0-9_-]{1,64}$/);
});
