import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { DemoResult, RunRecord } from '@parley/cli';
import { run } from '../support/launch.js';

const MONITORED = 16;
const QUESTIONS = 64 + MONITORED;
const PER_ROUND = 32;
const HELD_OUT = 40;
const SAMPLED = 8;
const PEERS = 3;
const ROUNDS = (QUESTIONS - MONITORED) / PER_ROUND;

/** `npm start -- --json` prints these keys, and programs read them. */
const RESULT_KEYS = [
  'peers',
  'vote',
  'gvGap',
  'rounds',
  'updatesPublished',
  'updatesApplied',
  'wallSeconds',
  'recipe',
];
const PEER_KEYS = ['name', 'architecture', 'parameters', 'before', 'after', 'delta', 'ci95', 'n'];

test('parley demo, in small: a mesh comes up, is measured, trains, is measured again, and leaves a record', async (t) => {
  const state = await mkdtemp(join(tmpdir(), 'parley-demo-'));
  t.after(() => rm(state, { recursive: true, force: true }));
  const size = ['--questions', QUESTIONS, '--held-out', HELD_OUT, '--sampled', SAMPLED].map(String);
  const rounds = [
    '--set',
    `rounds.promptsPerRound=${PER_ROUND}`,
    '--set',
    'rounds.microBatch=16',
    '--set',
    'aggregate.trust.clusters=4',
    '--set',
    `monitor.questions=${MONITORED}`,
  ];
  const { code, stdout, stderr } = await run('cli', {}, [
    'demo',
    '--json',
    ...size,
    ...rounds,
    '--state',
    state,
  ]);
  equal(code, 0, stderr);

  const result = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as DemoResult;
  deepEqual(Object.keys(result), RESULT_KEYS);
  deepEqual(Object.keys(result.vote), ['before', 'after']);
  deepEqual(Object.keys(result.gvGap), ['before', 'after']);
  const architectures = ['LlamaForCausalLM', 'Qwen2ForCausalLM', 'Gemma2ForCausalLM'];
  deepEqual(
    result.peers.map(({ architecture }) => architecture),
    architectures,
  );
  for (const peer of result.peers) {
    deepEqual(Object.keys(peer), PEER_KEYS);
    ok(
      peer.parameters >= 400_000 && peer.parameters <= 1_500_000,
      `${peer.name} has ${peer.parameters} parameters`,
    );
    ok(isShare(peer.before) && isShare(peer.after));
    ok(Math.abs(peer.after - peer.before - peer.delta) < 1e-9);
    ok(peer.ci95[0] <= peer.delta && peer.delta <= peer.ci95[1]);
    equal(peer.n, HELD_OUT);
  }
  ok([result.vote.before, result.vote.after].every(isShare));
  ok([result.gvGap.before, result.gvGap.after].every(Number.isFinite));
  equal(result.rounds, ROUNDS);
  equal(result.updatesPublished, ROUNDS * PEERS);
  equal(result.updatesApplied, result.updatesPublished);
  ok(result.wallSeconds > 0);
  equal(result.recipe.rounds.promptsPerRound, PER_ROUND);
  t.diagnostic(`${result.wallSeconds} s`);

  const path = /record of the run is (\S+record\.json)/.exec(stderr)?.[1] ?? '';
  ok(path.startsWith(state), stderr);
  const record = JSON.parse(await readFile(path, 'utf8')) as RunRecord;
  equal(record.state, 'completed');
  deepEqual(record.recipe, result.recipe);
  for (const { lastVersion, updatesApplied, firstWeightsSha256, lastWeightsSha256 } of record.peers) {
    deepEqual([lastVersion, updatesApplied], [ROUNDS, ROUNDS]);
    match(lastWeightsSha256, /^[0-9a-f]{64}$/);
    ok(firstWeightsSha256 !== lastWeightsSha256, 'training changed the weights');
  }
});

function isShare(value: number): boolean {
  return value >= 0 && value <= 1;
}
