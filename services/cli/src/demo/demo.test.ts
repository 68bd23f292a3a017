import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { DescribeResponseSchema } from '@parley/contracts';
import { create } from '@bufbuild/protobuf';
import { TASKS } from '@parley/evaluation';
import { PAPER } from '@parley/pst';
import { sleep } from '@parley/runtime';
import type { GradedAnswer, Measurement } from '../measure/measurement.js';
import { DEMO_SIZE, demoPlan } from './demo-plan.js';
import { demoResult, renderDemoResult } from './demo-result.js';
import { loadRecipe } from '../input/recipe-option.js';
import { DEMO_FOLDER } from '../mesh/demo-peers.js';
import { stateFolder, writeMeshFile } from '../mesh/state-folder.js';
import { forgetOldDemos } from './forget-old-demos.js';
import { createEngineWatch } from './engine-watch.js';

/** Right on the first `right` of `questions` questions. */
const answers = (questions: number, right: number) =>
  Array.from({ length: questions }, (_, index): GradedAnswer => ({
    answer: 'x',
    correct: index < right,
    logProb: -1,
    tokens: 1,
    meanEntropy: 0,
  }));

function measurement(right: readonly number[], vote: number, gap: number): Measurement {
  return {
    peers: right.map((count, index) => ({
      name: `peer${index}`,
      version: 0n,
      greedy: answers(1000, count),
      samples: [],
      gap: { generatorAccuracy: 0.5, selectedAccuracy: 0.5 + gap, gap, relativeGap: null, auc: null },
      failures: {},
    })),
    vote: answers(1000, vote),
    seconds: 1,
  };
}

const before = measurement([800, 820, 790], 900, 0.05);
const after = measurement([830, 840, 800], 910, 0.04);
const parts = {
  before,
  after,
  descriptions: [0, 1, 2].map((index) => ({
    name: `peer${index}`,
    architecture: 'LlamaForCausalLM',
    parameters: 450_000n,
  })),
  rounds: 6,
  updatesPublished: 18,
  updatesApplied: 18,
  wallSeconds: 201.3,
  recipe: PAPER,
  seed: 1n,
};

test("the demo's recipe takes for answers what the demo measures", async () => {
  const recipe = await loadRecipe({
    recipe: join(DEMO_FOLDER, 'recipe.json'),
    peers: 3,
    cwd: DEMO_FOLDER,
  });
  for (const task of TASKS) {
    const { measurement: plan } = demoPlan(task, { heldOut: 1, sampled: 1, questions: 1 }, 1n);
    assert.deepEqual(recipe.aggregate.answerForms, plan.answers.forms);
    assert.equal(recipe.generation.maxTokens, plan.maxTokens);
  }
});

test('the result has exactly the keys that scripts rely on', () => {
  const result = demoResult(parts);
  assert.deepEqual(Object.keys(result).sort(), [
    'gvGap',
    'peers',
    'recipe',
    'rounds',
    'updatesApplied',
    'updatesPublished',
    'vote',
    'wallSeconds',
  ]);
  const [peer] = result.peers;
  assert.ok(peer);
  assert.deepEqual(Object.keys(peer), [
    'name',
    'architecture',
    'parameters',
    'before',
    'after',
    'delta',
    'ci95',
    'n',
  ]);
  assert.deepEqual([peer.before, peer.after, peer.delta, peer.n], [0.8, 0.83, 0.03, 1000]);
  assert.ok(peer.ci95[0] > 0 && peer.ci95[0] < 0.03 && peer.ci95[1] > 0.03);
  assert.deepEqual(result.vote, { before: 0.9, after: 0.91 });
  assert.ok(Math.abs(result.gvGap.after - 0.04) < 1e-12);
  assert.deepEqual(JSON.parse(JSON.stringify(result)), result);
});

test('the table says what changed and whether the bar was reached', () => {
  assert.equal(
    renderDemoResult(demoResult(parts), parts),
    `right answers                            before → after  change  95 % interval
──────────────────────────────────────────────────────────────────────────────
peer0          LlamaForCausalLM, 450 k  80.0 % → 83.0 %    +3.0   [+2.0, +4.1]
peer1          LlamaForCausalLM, 450 k  82.0 % → 84.0 %    +2.0   [+1.2, +2.9]
peer2          LlamaForCausalLM, 450 k  79.0 % → 80.0 %    +1.0   [+0.4, +1.7]
mean           of the peers             80.3 % → 82.3 %    +2.0   [+1.4, +2.6]
vote           of the peers             90.0 % → 91.0 %    +1.0   [+0.4, +1.7]

Measured on 1000 held-out questions; change and interval in percentage points (paired bootstrap).
Generator–verifier gap  +5.0 → +4.0 points
Training                6 rounds, 18 updates published, 18 applied, recipe "paper"
Time                    3 min 21 s
The bar                 reached: mean +2.0 (at least +2.0), worst peer +1.0 (at least −1.0)`,
  );
  const worse = { ...parts, after: measurement([830, 840, 780], 910, 0.04) };
  assert.match(renderDemoResult(demoResult(worse), worse), /missed: mean \+1\.3 .*, worst peer −1\.0/);
});

test('what is measured is never trained on, and trained questions carry no answers', () => {
  for (const task of TASKS) {
    const plan = demoPlan(task, { heldOut: 300, sampled: 50, questions: 300 }, 1n);
    const measured = new Set(plan.measurement.questions.map(({ question }) => question));
    assert.equal(measured.size, 300);
    assert.ok(plan.prompts.every(({ question }) => !measured.has(question)));
    assert.ok(plan.prompts.every((prompt) => Object.keys(prompt).join() === 'promptId,question'));
  }
  assert.ok(DEMO_SIZE.heldOut >= 1000);
});

test('the meshes of all but the latest demos are removed, their records and other runs kept', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'parley-demo-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const state = stateFolder(folder);
  await forgetOldDemos(state);
  for (const run of ['demo-1', 'demo-2', 'demo-3', 'run-0', 'demo-0']) {
    await mkdir(join(state.run(run), 'mesh'), { recursive: true });
    await writeFile(join(state.run(run), 'record.json'), '{}');
  }
  // The oldest is still at work.
  const working = stateFolder(join(state.run('demo-0'), 'mesh'));
  await writeMeshFile(working, { pid: process.pid, startTime: '', peers: {} });
  await forgetOldDemos(state);
  const left = async (run: string) => (await readdir(state.run(run))).join();
  assert.equal(await left('demo-1'), 'record.json');
  for (const run of ['demo-2', 'demo-3', 'run-0', 'demo-0'])
    assert.equal(await left(run), 'mesh,record.json');
});

test('time in which no engine works is told apart from time in which one does', async () => {
  let activity = 'idle';
  const describe = async () => create(DescribeResponseSchema, { activity });
  const asked = () => assert.fail('nothing is asked');
  await using engines = createEngineWatch();
  engines.enter('start');
  await sleep(60);
  engines.watch([{ name: 'ant', client: { describe, generate: asked, score: asked } }]);
  engines.enter('idle');
  await sleep(250);
  activity = 'training';
  engines.enter('train');
  await sleep(250);
  const [start, idle, train] = engines.finish();
  assert.ok(start && idle && train);
  assert.deepEqual([start.name, idle.name, train.name], ['start', 'idle', 'train']);
  assert.equal(start.engineIdleSeconds, start.seconds);
  assert.equal(idle.engineIdleSeconds, idle.seconds);
  assert.equal(train.engineIdleSeconds, 0);
  assert.equal(train.busyShare['ant'], 1);
});
