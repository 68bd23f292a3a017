import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startScriptedPeer } from './fixtures/scripted-peer.js';
import { runCommandLine } from './fixtures/test-cli.js';
import { Interruption } from './run-cli.js';

const COMMANDS = [
  'demo',
  'up',
  'run',
  'watch',
  'runs',
  'peers',
  'ask',
  'eval',
  'rollback',
  'pull',
  'pretrain',
  'export',
  'doctor',
  'topology',
  'nats-reload',
];

test('--help is what fixtures/help.txt says (UPDATE_GOLDEN=1 writes it anew)', async (t) => {
  const cwd = await temporaryFolder(t);
  const pages = await Promise.all(
    [['--help'], ...COMMANDS.map((command) => [command, '--help'])].map(async (args) => {
      const { code, stdout, stderr } = await runCommandLine(args, { cwd });
      assert.deepEqual([code, stderr], [0, '']);
      return `$ parley ${args.join(' ')}\n${stdout}`;
    }),
  );
  const path = fileURLToPath(new URL('../fixtures/help.txt', import.meta.url));
  if (process.env['UPDATE_GOLDEN']) await writeFile(path, pages.join('\n'));
  assert.equal(pages.join('\n'), await readFile(path, 'utf8'));
});

const MESH = ['--coordinator', '127.0.0.1:1', '--peer', 'a', '--peer', 'b'];

const FAILURES: [args: string[], code: number, stderr: RegExp][] = [
  [[], 2, /Usage: parley/],
  [['frobnicate'], 2, /unknown command 'frobnicate'/],
  [['run'], 2, /required option '--questions <file>' not specified/],
  [['demo', '--questions', 'many'], 2, /give a whole number of at least 1/],
  [['demo', '--seed', '-1'], 2, /give a whole number from 0 to 2\^64 - 1/],
  [['demo', '--colour'], 2, /unknown option '--colour'/],
  [['eval', '--peer', 'a', '--questions', '-', '--answers', 'guess'], 2, /"guess" is not one of boxed,/],
  [['run', '--questions', '/no/such/file'], 2, /parley: Cannot read \/no\/such\/file/],
  [
    ['run', '--questions', '-', '--recipe', 'secret', ...MESH],
    2,
    /neither a preset \(paper, trust\) nor a file/,
  ],
  [['run', '--questions', '-', '--peer', 'a=nowhere'], 2, /is not a folder/],
  [['run', '--questions', '-', '--detach'], 2, /--detach needs a mesh that goes on/],
  [['run', '--questions', '-', '--coordinator', 'host:1', '--peer', 'a=host:2'], 2, /contradict each other/],
  [['watch', 'run-1'], 3, /No mesh is up in .*: start one with `parley up`/],
  [['topology'], 2, /No NATS is named: set PARLEY_NATS_URL/],
  [['topology', '--lease', 'soon'], 2, /"soon" is not a duration with a unit/],
  [['pull', 'one/two/three'], 2, /"one\/two\/three" is not the name of a model on a hub, such as/],
  [['pull', 'file:///models/a'], 2, /lies on this machine already/],
  [['pull', 'a/b', '--token-file', '/no/such/file'], 2, /--token-file \/no\/such\/file: ENOENT/],
  [['up', '--peer', 'a=gs://bucket/a'], 2, /--peer a=gs:\/\/bucket\/a: .* is none of folder, file:/],
  [['ask'], 2, /Give a question, or a file of them with --questions/],
  [['ask', 'Why?', '--peer', 'a=.'], 2, /--peer a: only peers that are up can be asked/],
  [['ask', 'Why?'], 3, /No mesh is up in/],
  [['rollback', 'ant'], 2, /Say where to: --to VERSION or --last-good, one of them/],
  [['rollback', 'ant', '--to', '1', '--last-good'], 2, /Say where to/],
  [['rollback', 'ant', '--to', '1'], 3, /No mesh is up in/],
  [['peers'], 3, /or give the address of a coordinator with --coordinator/],
  [['watch', 'run-1', '--coordinator', '127.0.0.1:1'], 3, /the coordinator at 127\.0\.0\.1:1/],
];

for (const [args, wanted, message] of FAILURES) {
  test(`parley ${args.join(' ')} exits with ${wanted} and says why`, async (t) => {
    const signal = AbortSignal.timeout(20_000);
    const { code, stdout, stderr } = await runCommandLine(args, {
      cwd: await temporaryFolder(t),
      stdin: 'why?',
      signal,
    });
    assert.equal(code, wanted, stderr);
    assert.match(stderr, message);
    assert.equal(stdout, '');
  });
}

test('with --json a failure is an object on standard output too', async (t) => {
  const { code, stdout } = await runCommandLine(['peers', '--json'], { cwd: await temporaryFolder(t) });
  assert.equal(code, 3);
  const { error } = JSON.parse(stdout) as { error: Record<string, string> };
  assert.deepEqual([error['code'], error['reason']], ['UNAVAILABLE', 'SERVICE_UNAVAILABLE']);
});

test('an interrupted command exits as shells expect', async (t) => {
  const cwd = await temporaryFolder(t);
  const interrupted = AbortSignal.abort(new Interruption('SIGINT'));
  const args = ['watch', 'run-1', '--coordinator', '127.0.0.1:1'];
  assert.equal((await runCommandLine(args, { cwd, signal: interrupted })).code, 130);
  const terminated = AbortSignal.abort(new Interruption('SIGTERM'));
  assert.equal((await runCommandLine(args, { cwd, signal: terminated })).code, 143);
});

test('runs is empty at first', async (t) => {
  const cwd = await temporaryFolder(t);
  assert.deepEqual(await runCommandLine(['runs', '--json'], { cwd }), {
    code: 0,
    stdout: '{"runs":[]}\n',
    stderr: '',
  });
});

test('eval measures peers at addresses and prints a table, or JSON', async (t) => {
  const cwd = await temporaryFolder(t);
  await using ant = await startScriptedPeer('ant', ({ question }) => ({ text: `A: ${question}` }));
  await using bee = await startScriptedPeer('bee', () => ({ text: 'A: 1' }));
  const questions = join(cwd, 'q.jsonl');
  await writeFile(questions, '{"question":"1","answer":"1"}\n{"question":"2","answer":2}');
  const peers = ['--peer', `ant=${ant.address}`, '--peer', `bee=${bee.address}`];
  const args = ['eval', ...peers, '--questions', questions, '--samples', '2'];
  const table = await runCommandLine(args, { cwd });
  assert.equal(table.code, 0, table.stderr);
  assert.equal(
    table.stdout,
    `peer  version   greedy      95 % interval  sampled   pass@2  majority of 2  verifier picks   gap
────────────────────────────────────────────────────────────────────────────────────────────────
ant         3  100.0 %  [34.2 %, 100.0 %]  100.0 %  100.0 %        100.0 %         100.0 %  ±0.0
bee         3   50.0 %    [9.5 %, 90.5 %]   50.0 %   50.0 %         50.0 %          50.0 %  ±0.0
vote           100.0 %  [34.2 %, 100.0 %]

On 2 questions.
`,
  );
  const json = JSON.parse((await runCommandLine([...args, '--json'], { cwd })).stdout) as {
    peers: { name: string; greedy: { value: number; n: number } }[];
  };
  assert.deepEqual(
    json.peers.map(({ name, greedy }) => [name, greedy.value, greedy.n]),
    [
      ['ant', 1, 2],
      ['bee', 0.5, 2],
    ],
  );
});

test('ask takes the vote of the peers, ties by likelihood, and names who is silent', async (t) => {
  const cwd = await temporaryFolder(t);
  const says = (text: string, logProb: number) => () => ({ text, logProb });
  await using ant = await startScriptedPeer('ant', says('I get 7. A: 7', -3));
  await using bee = await startScriptedPeer('bee', says('A: 8', -1));
  await using cat = await startScriptedPeer('cat', says('So, A: 7', -2));
  const peers = [ant, bee, cat].flatMap(({ name, address }) => ['--peer', `${name}=${address}`]);
  const one = await runCommandLine(['ask', 'What is 3 plus 4?', ...peers], { cwd });
  assert.deepEqual(
    [one.code, one.stdout, one.stderr],
    [0, '7\n\nSo, A: 7\n', '2 of 3 say so; in the words of cat; bee says 8\n'],
  );
  assert.equal(cat.requests[0].items[0].context.length, 0);
  assert.equal(cat.requests[0].sampling!.temperature, 0);

  const tie = ['ask', 'Why?', '--json', ...peers.slice(0, 4), '--peer', 'dog=127.0.0.1:1', '--deadline', '1'];
  const { stdout, stderr } = await runCommandLine(tie, { cwd });
  const { answers, silent } = JSON.parse(stdout) as {
    answers: { answer: string; votes: number; said: { peer: string; answer: string }[] }[];
    silent: { peer: string }[];
  };
  assert.deepEqual([answers[0].answer, answers[0].votes], ['8', 1]);
  assert.deepEqual(
    answers[0].said.map(({ peer, answer }) => `${peer} ${answer}`),
    ['ant 7', 'bee 8'],
  );
  assert.deepEqual(
    silent.map(({ peer }) => peer),
    ['dog'],
  );
  assert.match(stderr, /^dog did not answer: /m);

  const many = ['ask', '--questions', '-', ...peers];
  const file = await runCommandLine(many, { cwd, stdin: '{"id":"a","question":"1"}\n{"question":"2"}' });
  assert.equal(file.stdout, 'a\t7\nline-2\t7\n');
  const nobody = await runCommandLine(['ask', 'Why?', '--peer', 'dog=127.0.0.1:1', '--deadline', '1'], {
    cwd,
  });
  assert.equal(nobody.code, 3, nobody.stderr);
  assert.match(nobody.stderr, /No peer answered \(dog: /);
});

test('the installed command runs, and passes its exit code on', async () => {
  const path = fileURLToPath(new URL('../bin/parley.mjs', import.meta.url));
  const child = spawn(process.execPath, [path, 'nonsense'], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [code] = (await once(child, 'exit')) as [number];
  assert.equal(code, 2);
});

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'parley-cli-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
