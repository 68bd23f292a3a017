import assert from 'node:assert/strict';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import {
  LISTENING,
  LISTENING_PARTS,
  LIST_EDITS,
  makePopulation,
  PRETRAINING,
  WORD_PROBLEMS,
  type TrainingItem,
} from '@parley/evaluation';
import { loadLanguageModel, loadTokenizer, readModelConfig } from '@parley/lm';
import { DEMO_FOLDER } from '../mesh/demo-peers.js';
import { DEMO_PEERS } from './demo-models.js';
import { listeningRate } from './listening-phase.js';
import { POPULATION_FILE, taskOfPopulation } from './population-record.js';
import { pretrainPopulation } from './pretrain-population.js';
import { solvingRate } from './solving-phase.js';
import { createWordEncoder, lengthBatches, toSequences } from './train-items.js';

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'parley-pretrain-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

const item = (prompt: string, completion: string, tokenWeights: number[]): TrainingItem => {
  return { kind: 'solve', prompt, completion, tokenWeights };
};

test('the same seed pretrains the same bytes, as folders that load', async (t) => {
  const steps = { solvingSteps: 3, listeningSteps: 2 };
  const folders = [await temporaryFolder(t), await temporaryFolder(t)];
  const phases: string[] = [];
  for (const folder of folders) {
    await pretrainPopulation({
      task: WORD_PROBLEMS,
      folder,
      seed: 5n,
      ...steps,
      onProgress: ({ phase }) => phases.push(phase),
    });
  }
  assert.deepEqual(
    new Set(phases.map((phase, i) => `${phase} ${i < 15}`)),
    new Set(['solving true', 'listening true', 'solving false', 'listening false']),
  );
  for (const peer of DEMO_PEERS) {
    const [one, other] = await Promise.all(
      folders.map((folder) => readFile(join(folder, peer, 'model.safetensors'))),
    );
    assert.ok(one.equals(other), peer);
    const folder = join(folders[0], peer);
    await using model = await loadLanguageModel({ folder });
    assert.ok(model.info.parameters > 4e5 && model.info.parameters < 1.5e6);
    const tokenizer = loadTokenizer(folder, readModelConfig(folder));
    assert.equal(tokenizer.decode(tokenizer.encode('tom has 3 pens')), 'tom has 3 pens');
  }
});

test('peers that learnt without markers are not told who spoke, and every part left out makes other peers', async (t) => {
  const models = new Map<string, string>();
  for (const part of [undefined, ...LISTENING_PARTS]) {
    const folder = await temporaryFolder(t);
    const steps = { solvingSteps: 1, listeningSteps: 1, listeningWithout: part };
    await pretrainPopulation({ task: WORD_PROBLEMS, folder, seed: 5n, ...steps });
    models.set(
      part ?? 'all',
      (await readFile(join(folder, 'llama', 'model.safetensors'))).toString('base64'),
    );
    const { chat_template: template } = JSON.parse(
      await readFile(join(folder, 'llama', 'tokenizer_config.json'), 'utf8'),
    ) as { chat_template: string };
    assert.equal(template.includes('<p{{ answer.speaker }}>'), part !== 'markers');
  }
  assert.ok(new Set(models.values()).size >= 3, 'markers and answers change what is learnt');
});

test('another task gives peers of its own words, and a folder that says which task', async (t) => {
  const folder = await temporaryFolder(t);
  const task = LIST_EDITS;
  await pretrainPopulation({ task, folder, seed: 71n, solvingSteps: 1, listeningSteps: 1 });
  for (const peer of DEMO_PEERS) {
    const own = join(folder, peer);
    await using model = await loadLanguageModel({ folder: own });
    assert.ok(model.info.parameters > 4e5 && model.info.parameters < 5e5);
    const tokenizer = loadTokenizer(own, readModelConfig(own));
    const question = 'take the list c a f b . reverse it . then drop the first';
    assert.equal(tokenizer.decode(tokenizer.encode(question)), question);
  }
  const [llama, qwen, gemma] = makePopulation(task, 71n).coverages;
  const record: unknown = JSON.parse(await readFile(join(folder, POPULATION_FILE), 'utf8'));
  assert.deepEqual(record, { task: 'list-edits', seed: '71', coverage: { llama, qwen, gemma } });
  assert.equal(taskOfPopulation(folder), LIST_EDITS);
});

test("a population's task is what its record says, word problems where there is none", async (t) => {
  const folder = await temporaryFolder(t);
  const file = join(folder, POPULATION_FILE);
  assert.equal(taskOfPopulation(folder), WORD_PROBLEMS);
  const refused = {
    'no JSON': /JSON.*Train the peers anew/,
    null: /"undefined"/,
    '{"task":"sums"}': /no task "sums"/,
  };
  for (const [text, message] of Object.entries(refused)) {
    await writeFile(file, text);
    assert.throws(
      () => taskOfPopulation(folder),
      (error: Error) => error.message.startsWith(file) && message.test(error.message),
    );
  }
});

test("the demo's own record is what its seed gives", async () => {
  const record = JSON.parse(await readFile(join(DEMO_FOLDER, POPULATION_FILE), 'utf8')) as { seed: string };
  const [llama, qwen, gemma] = makePopulation(WORD_PROBLEMS, BigInt(record.seed)).coverages;
  assert.deepEqual(record, {
    task: 'word-problems',
    seed: '20261123',
    coverage: { llama, qwen, gemma },
  });
});

test('an interrupted pretraining writes nothing', async (t) => {
  const folder = await temporaryFolder(t);
  const controller = new AbortController();
  const pretraining = pretrainPopulation({
    task: WORD_PROBLEMS,
    folder,
    seed: 5n,
    solvingSteps: 50,
    signal: controller.signal,
    onProgress: () => controller.abort(new Error('enough')),
  });
  await assert.rejects(pretraining, { message: 'enough' });
  assert.deepEqual(await readdir(folder), []);
});

test('a batch weighs every target token by its own weight, whichever sequence it is in', () => {
  const encode = createWordEncoder(['a', 'b', 'c']);
  const sequences = toSequences([item('a', 'b', [4]), item('a', 'b c', [1, 3])], encode);
  assert.deepEqual(
    sequences.map(({ prompt, target }) => [prompt, target]),
    [
      [[0], [1]],
      [[0], [1, 2]],
    ],
  );
  // The engine's loss is (1/N) Σ weight · (Σ τ·CE / Σ τ): token t of sequence i counts weight · τ / (N Σ τ).
  const share = sequences.map(({ weight, tokenWeights }) => {
    const sum = tokenWeights!.reduce((a, b) => a + b, 0);
    return [...tokenWeights!].map((w) => (weight * w) / (sequences.length * sum));
  });
  assert.deepEqual(share, [[4 / 8], [1 / 8, 3 / 8]]);
  assert.deepEqual(encode('a  c'), [0, 2], 'around an empty answer');
  assert.throws(() => encode('a d'), /"d" in "a d" is not in the demo vocabulary/);
});

test('batches hold items of similar length, and every item once', () => {
  const items = ['a a a', 'a', 'a a', 'a a a a'].map((prompt) => item(prompt, 'b', [1]));
  const batches = lengthBatches(items, 2, (values) => [...values].reverse());
  assert.deepEqual(
    batches.map((batch) => batch.map(({ prompt }) => prompt)),
    [
      ['a a a', 'a a a a'],
      ['a', 'a a'],
    ],
  );
});

test('learning rates warm up to their peak and end at their floor', () => {
  const { warmupSteps, finalLearningRateRatio } = PRETRAINING;
  const { learningRate } = WORD_PROBLEMS;
  assert.ok(Math.abs(solvingRate(learningRate, 0, 1e6) - learningRate / warmupSteps) < 1e-9);
  assert.ok(Math.abs(solvingRate(learningRate, warmupSteps, 1e6) - learningRate) < 1e-6);
  assert.ok(Math.abs(solvingRate(learningRate, 9999, 10_000) - learningRate * finalLearningRateRatio) < 1e-9);
  assert.ok(Math.abs(listeningRate(500, 1000) - LISTENING.learningRate / 2) < 1e-9);
  assert.ok(
    Math.abs(listeningRate(999, 1000) - LISTENING.learningRate * LISTENING.finalLearningRateRatio) < 1e-9,
  );
});
