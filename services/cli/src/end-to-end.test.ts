import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { EvaluationResult } from './measure/evaluation-report.js';
import type { RunRecord } from './runs/run-record.js';

const PARLEY = fileURLToPath(new URL('../bin/parley.mjs', import.meta.url));
/** Untrained models of a few thousand parameters; what they say is nonsense, and enough. */
const MODELS = fileURLToPath(new URL('../../../packages/lm/fixtures/models', import.meta.url));
const PEERS = ['--peer', `ant=${join(MODELS, 'llama')}`, '--peer', `bee=${join(MODELS, 'qwen2')}`];
const SMALL = [
  'generation.maxTokens=4',
  'rounds.promptsPerRound=2',
  'rounds.microBatch=1',
  'aggregate.strategy=last',
];
const RECIPE = SMALL.flatMap((field) => ['--set', field]);

test('run brings a mesh up, trains it to the end, records the run and leaves nothing behind', async (t) => {
  const cwd = await folderWithQuestions(t, 3);
  const { code, stdout, stderr } = await parley(
    ['run', '--questions', 'q.txt', '--json', ...PEERS, ...RECIPE],
    cwd,
  );
  assert.equal(code, 0, stderr);
  const record = JSON.parse(stdout) as RunRecord;
  assert.equal(record.state, 'completed');
  assert.deepEqual([record.rounds, record.updatesPublished, record.updatesApplied], [2, 4, 4]);
  assert.deepEqual(
    record.peers.map(({ name, lastVersion }) => [name, lastVersion]),
    [
      ['ant', 2],
      ['bee', 2],
    ],
  );
  const path = join(cwd, '.parley', 'runs', record.runId, 'record.json');
  assert.deepEqual(JSON.parse(await readFile(path, 'utf8')), record);
  const runs = await parley(['runs', '--json'], cwd);
  assert.match(runs.stdout, new RegExp(`"runId":"${record.runId}","state":"completed"`));
  for (const pid of pidsIn(stderr)) assert.equal(isAlive(pid), false);
});

test('up keeps a mesh up for other commands, heals it, and Ctrl-C stops it in order', async (t) => {
  const cwd = await folderWithQuestions(t, 2);
  const up = start(['up', '--json', ...PEERS], cwd);
  t.after(() => up.child.kill('SIGKILL'));
  const addresses = JSON.parse(await up.firstLine()) as {
    coordinator: string;
    peers: Record<string, string>;
  };
  assert.deepEqual(Object.keys(addresses.peers), ['ant', 'bee']);

  const second = await parley(['up', ...PEERS], cwd);
  assert.equal(second.code, 2);
  assert.match(second.stderr, /A mesh is up already in/);

  const unknown = await parley(['run', '--questions', 'q.txt', '--peer', 'ant', '--peer', 'cat'], cwd);
  assert.equal(unknown.code, 2);
  assert.match(unknown.stderr, /Nobody has announced peer cat; start it first \(announced are: ant, bee\)/);

  const detached = await parley(['run', '--questions', 'q.txt', '--detach', ...RECIPE], cwd);
  assert.equal(detached.code, 0, detached.stderr);
  const watched = await parley(['watch', detached.stdout.trim()], cwd);
  assert.equal(watched.code, 0, watched.stderr);
  assert.match(watched.stdout, / completed \(1 round, 2 of 2 updates applied\)\n$/);

  const [pid = 0] = pidsIn(
    up
      .stderr()
      .split('\n')
      .find((line) => line.includes('ant ')) ?? '',
  );
  process.kill(pid, 'SIGKILL');
  await up.until(/ant +ready .*started again once/);
  const peers = await parley(['peers', '--json'], cwd);
  assert.equal((JSON.parse(peers.stdout) as { peers: { version: number }[] }).peers[0]?.version, 1);

  const recorded = await parley(['run', '--questions', 'q.txt', ...RECIPE], cwd);
  assert.equal(recorded.code, 0, recorded.stderr);
  await writeFile(
    join(cwd, 'labelled.jsonl'),
    '{"question":"What is 1?","answer":1}\n{"question":"9?","answer":9}',
  );
  const measured = ['eval', '--questions', 'labelled.jsonl', '--peer', 'ant', '--max-tokens', '4', '--json'];
  const refused = await parley(measured, cwd);
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /1 of 2 questions is among the training prompts of run run-\S+: line-1\./);
  const declared = await parley([...measured, '--allow-contamination'], cwd);
  assert.equal(declared.code, 0, declared.stderr);
  const { contamination } = JSON.parse(declared.stdout) as EvaluationResult;
  assert.deepEqual(contamination.ids, ['line-1']);
  assert.deepEqual(contamination.notChecked, [
    { peer: 'ant', why: 'records here tell of 1 of its 2 versions' },
  ]);

  up.child.kill('SIGINT');
  assert.deepEqual(await up.exited, [0, null]);
  const stopped = [...up.stderr().matchAll(/^ {2}(\w+) +stopped/gm)].map(([, name]) => name);
  assert.deepEqual([stopped[0], stopped[1], stopped.at(-1)], ['coordinator', 'pmi', 'nats']);
  for (const one of pidsIn(up.stderr())) assert.equal(isAlive(one), false);
});

test('eval brings models up, asks each for its judgement as it can be asked, and leaves nothing behind', async (t) => {
  const cwd = await folderWithQuestions(t, 0);
  const rows = [
    ['tom has 3 bags with 4 pens each . tom eats 5 . how many left', '7'],
    ['max had 7 pens . max lost 6 and then found 6 . how many now', '7'],
  ].map(([question, answer]) => JSON.stringify({ question, answer }));
  await writeFile(join(cwd, 'm.jsonl'), rows.join('\n'));
  const demo = fileURLToPath(new URL('../../../deploy/demo/gemma', import.meta.url));
  // The same model, but for a prompt layout without a place for a response to judge.
  const plain = join(cwd, 'plain');
  await cp(demo, plain, { recursive: true });
  const config = JSON.parse(await readFile(join(plain, 'tokenizer_config.json'), 'utf8')) as object;
  const chat_template = '<bos> {{ messages[-1].content }} <r>';
  await writeFile(join(plain, 'tokenizer_config.json'), JSON.stringify({ ...config, chat_template }));
  const { code, stdout, stderr } = await parley(
    ['eval', '--benchmark', 'multiarith', '--data', 'm.jsonl', '--prompt', '{question}', '--max-tokens', '24']
      .concat(['--peer', `gem=${demo}`, '--peer', `plain=${plain}`, '--quantization', 'int8'])
      .concat(['--samples', '3', '--json']),
    cwd,
  );
  assert.equal(code, 0, stderr);
  const { peers, vote } = JSON.parse(stdout) as EvaluationResult;
  const [gem, other] = peers;
  assert.ok(gem && other);
  assert.equal(gem.greedy.value, 1, 'the demo can do these');
  assert.equal(vote?.n, 2);
  assert.deepEqual(
    gem.sampled?.passAt.map(({ k }) => k),
    [1, 2, 3],
  );
  assert.equal(gem.verifiers['yes-no']?.layout, 'template');
  assert.deepEqual([gem.verifiers['yes-no'].judged, gem.verifiers['yes-no'].failures], [6, {}]);
  assert.deepEqual(other.greedy, gem.greedy);
  assert.equal(other.verifiers['yes-no']?.layout, 'question');
  assert.equal(other.verifiers['yes-no'].judged, 6);
  for (const pid of pidsIn(stderr)) assert.equal(isAlive(pid), false);
});

interface Started {
  child: ChildProcess;
  exited: Promise<unknown[]>;
  stderr(): string;
  firstLine(): Promise<string>;
  /** Resolves when standard error matches. */
  until(pattern: RegExp): Promise<void>;
}

function start(args: readonly string[], cwd: string): Started {
  const child = spawn(process.execPath, [PARLEY, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  return {
    child,
    exited: once(child, 'exit'),
    stderr: () => stderr,
    async firstLine() {
      for await (const line of createInterface({ input: child.stdout })) return line;
      return assert.fail(`it ended without a word:\n${stderr}`);
    },
    async until(pattern) {
      const signal = AbortSignal.timeout(30_000);
      while (!pattern.test(stderr)) await once(child.stderr, 'data', { signal });
    },
  };
}

async function parley(
  args: readonly string[],
  cwd: string,
): Promise<{ code: unknown; stdout: string; stderr: string }> {
  const started = start(args, cwd);
  let stdout = '';
  started.child.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  const [code] = (await once(started.child, 'close')) as unknown[];
  return { code, stdout, stderr: started.stderr() };
}

function pidsIn(text: string): number[] {
  return [...text.matchAll(/\(process (\d+)/g)].map(([, pid]) => Number(pid));
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function folderWithQuestions(t: TestContext, count: number): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'parley-end-to-end-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await writeFile(
    join(folder, 'q.txt'),
    Array.from({ length: count }, (_, index) => `what is ${index}\n`).join(''),
  );
  return folder;
}
