import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BENCHMARKS, VERIFICATION_TEMPLATE, wilsonInterval } from '@parley/evaluation';
import { sha256 } from '@parley/runtime';
import { startScriptedPeer } from './fixtures/scripted-peer.js';
import type { Script } from './fixtures/scripted-peer.js';
import { runCommandLine } from './fixtures/test-cli.js';
import type { EvaluationResult } from './measure/evaluation-report.js';
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
  [
    ['eval', '--peer', 'a', '--questions', '-', '--verifiers', 'maybe'],
    2,
    /"maybe" is not one of likelihood,/,
  ],
  [
    ['eval', '--peer', 'a', '--questions', '-', '--prompt', 'solve'],
    2,
    /put \{question\} where the question goes/,
  ],
  [['eval', '--peer', 'a'], 2, /No questions: give --questions FILE, or --benchmark NAME with --data FILE/],
  [['eval', '--peer', 'a', '--benchmark', 'gsm8k'], 2, /Allowed choices are multiarith, simuleq, math500/],
  [['eval', '--peer', 'a', '--benchmark', 'simuleq'], 2, /--benchmark simuleq needs --data FILE/],
  [['eval', '--peer', 'a', '--data', '-'], 2, /--data needs --benchmark NAME/],
  [['eval', '--peer', 'a', '--questions', '-', '--benchmark', 'math500'], 2, /contradict each other/],
  [['up', '--quantization', 'int4'], 2, /argument 'int4' is invalid. Allowed choices are none, int8, w8a8/],
  [
    ['up', '--quantization', 'int8'],
    2,
    /--quantization int8 and --train full contradict .* add --train lora:/,
  ],
  [
    ['run', '--questions', '-', '--quantization', 'w8a8'],
    2,
    /--quantization w8a8 and --train full contradict/,
  ],
  [['run', '--questions', '/no/such/file'], 2, /parley: Cannot read \/no\/such\/file/],
  [
    ['run', '--questions', '-', '--recipe', 'secret', ...MESH],
    2,
    /neither a preset \(paper, trust, trust-pmi\) nor a file/,
  ],
  [['run', '--questions', '-', '--peer', 'a=nowhere'], 2, /is not a folder/],
  [['run', '--questions', '-', '--detach'], 2, /--detach needs a mesh that goes on/],
  [['run', '--questions', '-', '--coordinator', 'host:1', '--peer', 'a=host:2'], 2, /contradict each other/],
  [['watch', 'run-1'], 3, /No mesh is up in .*: start one with `parley up`/],
  [['pretrain', '--task', 'list-edits'], 2, /--task list-edits needs an --out: the demo's own folder/],
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

/** Finds yes likelier, the shorter what it judges is. */
const score = ({ question, continuation }: { question: string; continuation: string }) => ({
  logProb: continuation === 'Yes' ? -question.length : -100,
});

test('eval measures peers at addresses and prints a table, or JSON', async (t) => {
  const cwd = await temporaryFolder(t);
  await using ant = await startScriptedPeer('ant', ({ question }) => ({ text: `A: ${question}` }), { score });
  await using bee = await startScriptedPeer('bee', () => ({ text: 'A: 1' }), { score });
  const questions = join(cwd, 'q.jsonl');
  const rows = '{"question":"1","answer":"1"}\n{"question":"2","answer":2}';
  await writeFile(questions, rows);
  const digest = sha256(Buffer.from(rows));
  const wilson2 = wilsonInterval(2, 2).low;
  const addresses = ['--peer', `ant=${ant.address}`, '--peer', `bee=${bee.address}`];
  const args = ['eval', ...addresses, '--questions', questions, '--samples', '2'];
  const table = await runCommandLine(args, { cwd });
  assert.equal(table.code, 0, table.stderr);
  const [tables, footer = ''] = table.stdout.split('\n\nOn ');
  assert.equal(
    tables,
    `peer  version   greedy      95 % interval  no answer  sampled   pass@2  majority of 2      95 % interval
────────────────────────────────────────────────────────────────────────────────────────────────────────
ant         3  100.0 %  [34.2 %, 100.0 %]      0.0 %  100.0 %  100.0 %        100.0 %  [34.2 %, 100.0 %]
bee         3   50.0 %    [9.5 %, 90.5 %]      0.0 %   50.0 %   50.0 %         50.0 %    [9.5 %, 90.5 %]
vote           100.0 %  [34.2 %, 100.0 %]

peer  verifier                samples  verifier picks   gap   AUC  in a question
────────────────────────────────────────────────────────────────────────────────
ant   likelihood              100.0 %         100.0 %  ±0.0     –              –
ant   yes or no, by question  100.0 %         100.0 %  ±0.0     –              –
bee   likelihood               50.0 %          50.0 %  ±0.0  0.50              –
bee   yes or no, by question   50.0 %          50.0 %  ±0.0  0.50              –`,
  );
  assert.equal(
    footer.replace(/2\d{3}-\S+Z/, 'NOW'),
    `2 questions, of q.jsonl (sha256 ${digest.slice(0, 12)}…).
The vote against ant, the best peer here: ±0.0 points [±0.0, ±0.0] (paired bootstrap).
Prompt "{question}"; answers boxed, answer-is, marker, last-number; numbers within 0.000001.
2 samples at temperature 1, at most 256 tokens, seed 0; parley 1.2.3, NOW.
Whether ant, bee trained on them was not checked: no records of such training here.
`,
  );
  const { time, seconds, peers, ...json } = JSON.parse(
    (await runCommandLine([...args, '--json'], { cwd })).stdout,
  ) as EvaluationResult;
  assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000 && seconds > 0);
  assert.deepEqual(json, {
    format: 'parley.evaluation/1',
    parley: '1.2.3',
    benchmark: null,
    data: { file: 'q.jsonl', sha256: digest, rows: 2, excluded: 0, distinct: 2, askedForFirst: 0 },
    questions: 2,
    promptTemplate: '{question}',
    answers: { forms: ['boxed', 'answer-is', 'marker', 'last-number'], numeric: false, tolerance: 1e-6 },
    sampling: { samples: 2, temperature: 1, maxTokens: 256 },
    seed: '0',
    vote: { value: 1, ci95: [wilson2, 1], n: 2 },
    voteOverBest: { peer: 'ant', delta: 0, ci95: [0, 0], n: 2, wrongToRight: 0, rightToWrong: 0 },
    contamination: {
      ids: [],
      comparedWith: [],
      notChecked: ['ant', 'bee'].map((peer) => ({ peer, why: 'no records of such training here' })),
    },
  });
  assert.deepEqual(
    peers.map(({ name, version, weightsSha256, greedy, unparseable }) => [
      name,
      version,
      weightsSha256,
      greedy.value,
      unparseable.value,
    ]),
    [
      ['ant', 3, 'ab', 1, 0],
      ['bee', 3, 'ab', 0.5, 0],
    ],
  );
  const verdict = peers[1]?.verifiers['yes-no'];
  assert.deepEqual(
    [verdict?.layout, verdict?.promptTemplate, verdict?.verdicts, verdict?.judged],
    ['question', VERIFICATION_TEMPLATE, { yes: 'Yes', no: 'No' }, 4],
  );
});

test('eval of a benchmark asks by its prompt, grades by its rules and takes the first questions', async (t) => {
  const cwd = await temporaryFolder(t);
  await writeFile(
    join(cwd, 's.jsonl'),
    '{"id":"a","question":"How many boys and girls?","answer":[15, 9]}\n' +
      '{"id":"b","question":"How many boys?","answer":[137, 388]}\n' +
      '{"id":"c","question":"How many?","answer":[1]}',
  );
  await using ant = await startScriptedPeer('ant', ({ question }) => ({
    text: question.startsWith('How many boys and girls?\n\nSolve')
      ? '\\boxed{9 \\text{ and } 15}'
      : '\\boxed{137}',
  }));
  const args = ['--benchmark', 'simuleq', '--data', 's.jsonl', '--limit', '2', '--samples', '0', '--json'];
  const { code, stdout, stderr } = await runCommandLine(['eval', '--peer', `ant=${ant.address}`, ...args], {
    cwd,
  });
  assert.equal(code, 0, stderr);
  const { benchmark, data, questions, peers, promptTemplate } = JSON.parse(stdout) as EvaluationResult;
  assert.deepEqual([benchmark, questions, promptTemplate], ['simuleq', 2, BENCHMARKS.simuleq.promptTemplate]);
  assert.deepEqual([data.rows, data.excluded, data.distinct, data.askedForFirst], [3, 1, 2, 1]);
  assert.equal(peers[0]?.greedy.value, 1);
  assert.deepEqual(peers[0]?.verifiers, {});
});

test('eval names what failed, what could not be judged, and a peer that changed', async (t) => {
  const cwd = await temporaryFolder(t);
  await writeFile(join(cwd, 'q.jsonl'), '{"question":"one?","answer":1}\n{"question":"two?","answer":2}');
  const script: Script = ({ question }) =>
    question === 'one?' ? { reason: 'PROMPT_TOO_LONG' } : { text: 'nothing to say' };
  await using ant = await startScriptedPeer('ant', script, { score: () => ({ reason: 'INTERNAL' }) });
  const args = ['eval', '--peer', `ant=${ant.address}`, '--questions', 'q.jsonl'];
  const { code, stdout, stderr } = await runCommandLine([...args, '--samples', '1'], { cwd });
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^ant +3 +0\.0 % +\[0\.0 %, 79\.3 %\] +100\.0 %/m, 'no answer counts as wrong');
  assert.match(stdout, /^Not answered, left out and not wrong: ant 2 × PROMPT_TOO_LONG\.$/m);
  assert.match(stdout, /^Samples that could not be judged: ant 1 × INTERNAL\.$/m);
  await using bee = await startScriptedPeer('bee', () => ({ text: '1' }), { changingCalls: true });
  const changed = ['eval', '--peer', `bee=${bee.address}`, '--questions', 'q.jsonl', '--samples', '0'];
  assert.match(
    (await runCommandLine(changed, { cwd })).stderr,
    /bee changed from version 3 to 4 while it was measured/,
  );
});

test('eval refuses questions that were trained on, or declares them', async (t) => {
  const cwd = await temporaryFolder(t);
  await using ant = await startScriptedPeer('ant', () => ({ text: 'A: 1' }), { score });
  const rows = ['One and one?', 'Two and two?', 'Three?'].map((question, index) =>
    JSON.stringify({ id: `q${index}`, question, answer: 1 }),
  );
  await writeFile(join(cwd, 'q.jsonl'), rows.join('\n'));
  await writeFile(join(cwd, 'trained.txt'), 'four?\none  AND one\nthree\n');
  const args = [
    'eval',
    '--peer',
    `ant=${ant.address}`,
    '--questions',
    'q.jsonl',
    '--trained-on',
    'trained.txt',
  ];
  const refused = await runCommandLine(args, { cwd });
  assert.equal(refused.code, 2);
  assert.match(
    refused.stderr,
    /2 of 3 questions are among the training prompts of trained\.txt: q0, q2\. Leave them out .*--allow-contamination/,
  );
  assert.equal(ant.requests.length, 0);
  const declared = await runCommandLine([...args, '--allow-contamination'], { cwd });
  assert.equal(declared.code, 0, declared.stderr);
  assert.match(
    declared.stdout,
    /CONTAMINATED: 2 of the 3 were trained on, as was declared: trained\.txt \(3 prompts\)\./,
  );
  const json = await runCommandLine([...args, '--allow-contamination', '--json'], { cwd });
  const { contamination } = JSON.parse(json.stdout) as EvaluationResult;
  assert.deepEqual(contamination.ids, ['q0', 'q2']);
  assert.deepEqual(contamination.comparedWith, [{ source: 'trained.txt', prompts: 3 }]);
  await writeFile(join(cwd, 'trained.txt'), 'four?\n');
  const clean = await runCommandLine(args, { cwd });
  assert.match(clean.stdout, /None of them is among the training prompts of trained\.txt \(1 prompt\)\./);
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
