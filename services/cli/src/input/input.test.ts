import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { BENCHMARKS } from '@parley/evaluation';
import { isParleyError, sha256 } from '@parley/runtime';
import { readEvaluationData } from './evaluation-data.js';
import { parsePeerOption, parsePeerOptions } from './peer-option.js';
import { localPeers } from './local-peers.js';
import { readLabelledQuestions, readPrompts, readQuestionFile } from './prompts-file.js';
import { loadRecipe } from './recipe-option.js';

const noInput = Readable.from([]);

test('questions come as JSONL or as lines, blank lines skipped, unnamed ones called by their line', async (t) => {
  const folder = await temporaryFolder(t);
  const jsonl = await file(
    folder,
    'a.jsonl',
    '{"question":"1 + 1?","id":"one"}\n\n{"question":" 2 + 2? "}\r\n',
  );
  assert.deepEqual(await readPrompts(jsonl, noInput), [
    { promptId: 'one', question: '1 + 1?' },
    { promptId: 'line-3', question: '2 + 2?' },
  ]);
  const plain = await file(folder, 'b.txt', 'why?\n\n  how {so}?\n');
  assert.deepEqual(await readPrompts(plain, noInput), [
    { promptId: 'line-1', question: 'why?' },
    { promptId: 'line-3', question: 'how {so}?' },
  ]);
  assert.deepEqual(await readPrompts('-', Readable.from(['from ', 'here'])), [
    { promptId: 'line-1', question: 'from here' },
  ]);
});

const BAD_PROMPTS: [name: string, content: string | Buffer, message: RegExp][] = [
  ['an empty file', '\n  \n', /bad\.jsonl holds no questions: put one on each line/],
  [
    'broken JSON',
    '{"question":"a"}\n\n{"question":',
    /bad\.jsonl:3: not valid JSON .*write one object a line/,
  ],
  ['not an object', '{"question":"a"}\n[1]', /bad\.jsonl:2: not a JSON object/],
  ['no question', '{"question":"a"}\n{"prompt":"b"}', /bad\.jsonl:2: "question" is missing/],
  ['an empty question', '{"question":""}', /bad\.jsonl:1: "question" is empty/],
  ['a question of spaces', '{"question":"  "}', /bad\.jsonl:1: "question" is empty/],
  ['a question of the wrong type', '{"question":["a"]}', /bad\.jsonl:1: "question" is not a text/],
  ['an id with spaces', '{"question":"a","id":"b c"}', /bad\.jsonl:1: "id" has white space/],
  [
    'an id twice',
    '{"question":"a","id":"x"}\n{"question":"b","id":"x"}',
    /bad\.jsonl:2: id "x" is already used on line 1/,
  ],
  [
    'bytes that are no text',
    Buffer.from([0x61, 0x0a, 0x62, 0xff, 0x0a]),
    /bad\.jsonl:2: not UTF-8 text; save the file as UTF-8/,
  ],
];

for (const [name, content, message] of BAD_PROMPTS) {
  test(`a prompt file with ${name} is refused by file and line`, async (t) => {
    const path = await file(await temporaryFolder(t), 'bad.jsonl', content);
    await assert.rejects(readPrompts(path, noInput), (error) => {
      assert.ok(isParleyError(error, 'PROMPT_FILE_INVALID'));
      assert.match(error.message, message);
      return true;
    });
  });
}

test('a prompt file that is not there, and empty standard input, are named', async () => {
  await assert.rejects(
    readPrompts('/no/such/file', noInput),
    /Cannot read \/no\/such\/file: ENOENT.*check the path/,
  );
  await assert.rejects(readPrompts('-', Readable.from([])), /standard input holds no questions/);
});

test('questions with answers keep them as written and need one each', async (t) => {
  const folder = await temporaryFolder(t);
  const good = await file(
    folder,
    'good.jsonl',
    '{"question":"a","answer":"1,000.0"}\n{"question":"b","answer":7,"id":"x"}\n{"question":"c","answer":[15,"9"]}',
  );
  assert.deepEqual(await readLabelledQuestions(good, noInput), [
    { promptId: 'line-1', question: 'a', answer: '1,000.0' },
    { promptId: 'x', question: 'b', answer: '7' },
    { promptId: 'line-3', question: 'c', answer: '15, 9', values: ['15', '9'] },
  ]);
  const bad = await file(folder, 'bad.jsonl', '{"question":"a","answer":"1"}\n{"question":"b"}');
  await assert.rejects(readLabelledQuestions(bad, noInput), /bad\.jsonl:2: "answer" is missing/);
  for (const [answer, problem] of [
    ['[]', 'is an empty list'],
    ['[1, null]', 'is not a text'],
  ]) {
    const list = await file(folder, 'list.jsonl', `{"question":"a","answer":${answer}}`);
    await assert.rejects(
      readLabelledQuestions(list, noInput),
      new RegExp(`list\\.jsonl:1: "answer" ${problem}`),
    );
  }
});

const ROWS = {
  multiarith: '{"id":"m-0","question":"a","answer":"39"}\n{"id":"m-1","question":"b","answer":40}',
  simuleq:
    '{"id":"s-0","question":"How many boys and girls are there?","answer":[15, 9]}\n' +
    '{"id":"s-1","question":"How many boys are there?","answer":[137, "388"]}\n' +
    '{"id":"s-2","question":"How many boys are there?","answer":[2.5]}',
  math500:
    '{"unique_id":"test/algebra/1.json","problem":"What is $x$?","answer":"\\\\frac{14}{3}","level":5}\n' +
    '{"id":"m-1","question":"b","answer":"\\\\text{even}"}',
};

test('each benchmark is read as what it is', async (t) => {
  const folder = await temporaryFolder(t);
  const read = async (name: keyof typeof ROWS) => {
    const path = await file(folder, `${name}.jsonl`, ROWS[name]);
    const read = await readQuestionFile(path, noInput, BENCHMARKS[name]);
    assert.equal(read.sha256, sha256(Buffer.from(ROWS[name])));
    return read.questions;
  };
  assert.deepEqual(await read('multiarith'), [
    { promptId: 'm-0', question: 'a', answer: '39' },
    { promptId: 'm-1', question: 'b', answer: '40' },
  ]);
  const boys = 'How many boys are there?';
  const both = 'How many boys and girls are there?';
  assert.deepEqual(await read('simuleq'), [
    { promptId: 's-0', question: both, answer: '15, 9', values: ['15', '9'] },
    { promptId: 's-1', question: boys, answer: '137, 388', values: ['137', '388'], asksForFirst: true },
    { promptId: 's-2', question: boys, answer: '2.5', values: ['2.5'] },
  ]);
  assert.deepEqual(await read('math500'), [
    { promptId: 'test/algebra/1.json', question: 'What is $x$?', answer: '\\frac{14}{3}' },
    { promptId: 'm-1', question: 'b', answer: '\\text{even}' },
  ]);
});

const BAD_ROWS: [benchmark: keyof typeof ROWS, row: string, problem: RegExp][] = [
  ['multiarith', '{"question":"a","answer":"many"}', /:1: "answer" is not a number, such as 39/],
  ['multiarith', '{"question":"a","answer":[3]}', /:1: "answer" is a list; write one number/],
  ['multiarith', '{"question":"a"}', /:1: "answer" is missing/],
  ['multiarith', '{"question":"a","answer":true}', /:1: "answer" is not a text/],
  ['multiarith', '{"answer":"3"}', /:1: "question" is missing/],
  ['multiarith', '', /holds no questions/],
  ['multiarith', '{"question":', /:1: not valid JSON/],
  [
    'simuleq',
    '{"question":"a","answer":["x", 3]}',
    /:1: "answer" is not a list of numbers, such as \[15, 9\]/,
  ],
  ['simuleq', '{"question":"a","answer":[]}', /:1: "answer" is an empty list/],
  ['simuleq', '{"question":"a","answer":[null]}', /:1: "answer" is not a text/],
  ['math500', '{"problem":"a","answer":["1"]}', /:1: "answer" is a list; write one text/],
  ['math500', '{"problem":7.5,"answer":""}', /:1: "answer" is empty/],
  ['math500', '{"problem":"a","answer":"1","unique_id":"a b"}', /:1: "id" has white space/],
  [
    'math500',
    '{"id":"x","problem":"a","answer":"1"}\n{"unique_id":"x","problem":"b","answer":"1"}',
    /:2: id "x" is already used on line 1/,
  ],
];

for (const [benchmark, row, problem] of BAD_ROWS) {
  test(`a row of ${benchmark} that is ${JSON.stringify(row)} is refused by file, line and field`, async (t) => {
    const path = await file(await temporaryFolder(t), 'bad.jsonl', row);
    await assert.rejects(readQuestionFile(path, noInput, BENCHMARKS[benchmark]), (error) => {
      assert.ok(isParleyError(error, 'PROMPT_FILE_INVALID'));
      assert.match(error.message, problem);
      assert.match(error.message, /bad\.jsonl/);
      return true;
    });
  });
}

test('the first questions of a file are taken, and its rows and repetitions counted', async (t) => {
  const rows = ['Two?', 'one', 'two', 'Two ?'].map((question) => JSON.stringify({ question, answer: 1 }));
  const questions = await file(await temporaryFolder(t), 'q.jsonl', rows.join('\n'));
  const all = await readEvaluationData({ questions }, noInput);
  assert.deepEqual([all.file, all.rows, all.questions.length, all.distinct], ['q.jsonl', 4, 4, 2]);
  const some = await readEvaluationData({ questions, limit: 2 }, noInput);
  assert.deepEqual(some.questions, all.questions.slice(0, 2));
  assert.deepEqual([some.rows, some.distinct, some.sha256], [4, 2, all.sha256]);
});

test('a peer is a folder, a model to be fetched, an address or a name', async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'llama'));
  assert.deepEqual(parsePeerOption('a=llama', folder), {
    kind: 'folder',
    name: 'a',
    folder: join(folder, 'llama'),
  });
  assert.deepEqual(parsePeerOption('a=host:7001', folder), {
    kind: 'address',
    name: 'a',
    address: 'host:7001',
  });
  assert.deepEqual(parsePeerOption('a', folder), { kind: 'name', name: 'a' });
  assert.deepEqual(parsePeerOption('a=file:///models/x', folder), {
    kind: 'folder',
    name: 'a',
    folder: '/models/x',
  });
  assert.deepEqual(parsePeerOption('a=hf://org/model@v1', folder), {
    kind: 'model',
    name: 'a',
    uri: { kind: 'hub', repo: 'org/model', revision: 'v1' },
  });
  assert.throws(
    () => parsePeerOption('a=nowhere', folder),
    /nowhere is not a folder, and "nowhere" is not host:port; give the folder/,
  );
  assert.throws(
    () => parsePeerOption('a b=llama', folder),
    /"a b" cannot be a peer's name; use 1 to 64 letters/,
  );
  assert.throws(() => parsePeerOptions(['a=llama', 'a'], folder), /--peer a is given twice/);
  const [address] = parsePeerOptions(['a=host:7001'], folder);
  assert.ok(address);
  assert.throws(
    () => localPeers([address]),
    /--peer a=host:7001: .*give that mesh with --coordinator ADDRESS/,
  );
});

test('a recipe starts from a preset or a file, and --set changes fields of any depth', async (t) => {
  const folder = await temporaryFolder(t);
  const base = { peers: 3, cwd: folder };
  assert.equal((await loadRecipe({ ...base, recipe: 'trust' })).aggregate.strategy, 'trust');
  const set = [
    'training.learningRate=1e-4',
    'guards.entropyDrop=null',
    'order=random',
    'guards.independentSupport=true',
  ];
  const recipe = await loadRecipe({ ...base, recipe: 'paper', set });
  assert.equal(recipe.training.learningRate, 1e-4);
  assert.equal(recipe.guards.entropyDrop, null);
  assert.equal(recipe.order, 'random');
  assert.equal(recipe.guards.independentSupport, true);
  for (const [value, forms] of [
    ['marker', ['marker']],
    ['marker, last-number', ['marker', 'last-number']],
    ['["boxed","marker"]', ['boxed', 'marker']],
  ] as const) {
    const listed = await loadRecipe({ ...base, recipe: 'paper', set: [`aggregate.answerForms=${value}`] });
    assert.deepEqual(listed.aggregate.answerForms, forms);
  }
  await file(folder, 'mine.json', '{"preset":"paper","rounds":{"promptsPerRound":64}}');
  assert.equal((await loadRecipe({ ...base, recipe: 'mine.json' })).rounds.promptsPerRound, 64);
});

test('a recipe that cannot run names every field at fault', async (t) => {
  const folder = await temporaryFolder(t);
  const base = { peers: 3, cwd: folder };
  const bad = ['training.learningRate=-1', 'scorer=nobody', 'training.speed=9'];
  await assert.rejects(loadRecipe({ ...base, recipe: 'paper', set: bad }), (error) => {
    assert.ok(isParleyError(error, 'RECIPE_INVALID'));
    assert.match(error.message, /training\.learningRate must be/);
    assert.match(error.message, /scorer must be one of self, /);
    assert.match(error.message, /training\.speed is no field/);
    return true;
  });
  await assert.rejects(
    loadRecipe({ ...base, recipe: 'paper', set: ['aggregate.answerForms='] }),
    /aggregate\.answerForms must be a list of at least one of boxed, .*; it holds ""/,
  );
  const contradiction = ['generation.context=independent'];
  await assert.rejects(
    loadRecipe({ ...base, recipe: 'paper', set: contradiction }),
    /aggregate\.strategy 'last' with/,
  );
  await assert.rejects(
    loadRecipe({ ...base, recipe: 'papre' }),
    /--recipe papre: neither a preset \(paper, trust, trust-pmi\) nor a file/,
  );
  await file(folder, 'broken.json', '{');
  await assert.rejects(loadRecipe({ ...base, recipe: 'broken.json' }), /broken\.json is not valid JSON/);
  await file(folder, 'list.json', '[]');
  await assert.rejects(loadRecipe({ ...base, recipe: 'list.json' }), /list\.json is not a JSON object/);
  for (const set of ['learningRate', '=1', 'a..b=1', '__proto__.x=1']) {
    await assert.rejects(
      loadRecipe({ ...base, recipe: 'paper', set: [set] }),
      /write field\.path=value, for example/,
    );
  }
});

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'parley-input-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function file(folder: string, name: string, content: string | Buffer): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}
