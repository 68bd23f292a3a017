import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runCommandLine } from '../fixtures/test-cli.js';
import type { CommandResult } from '../fixtures/test-cli.js';
import type { CellResult } from './cell-result.js';
import { RESULTS_FILE } from './run-study.js';
import { openStudyResults } from './study-results.js';

const PARLEY = fileURLToPath(new URL('../../bin/parley.mjs', import.meta.url));

/** Peers that learnt nothing yet, and runs of two rounds. */
const SMALL = {
  format: 'parley.study/1',
  title: 'a small study',
  populations: [{ name: 'p1', seed: 5, steps: 2, listeningSteps: 1 }],
  seeds: [1],
  questions: 8,
  measure: { heldOut: 6, sampled: 2, samples: 2, temperature: 1, seed: 1 },
  recipe: {
    generation: { maxTokens: 4 },
    aggregate: { answerForms: ['marker', 'last-number'] },
    rounds: { promptsPerRound: 4, microBatch: 4 },
  },
  rows: [
    { name: 'paper', title: 'the paper', recipe: { preset: 'paper', guards: { action: 'report' } } },
    {
      name: 'uniform',
      title: 'uniform weights',
      recipe: { preset: 'paper', weight: { kind: 'uniform' }, guards: { action: 'report' } },
    },
    {
      name: 'oracle',
      title: 'right labels',
      labels: 'oracle',
      recipe: { preset: 'paper', weight: { kind: 'uniform' } },
    },
  ],
};

test('a study that is killed goes on, repeats no cell and loses none, with the results of one that was not', async (t) => {
  const folder = await temporaryFolder(t);
  const spec = join(folder, 'study.json');
  await writeFile(spec, JSON.stringify(SMALL));
  await runWhole(spec, join(folder, 'whole'));
  const whole = await readCells(join(folder, 'whole'));
  assert.deepEqual(
    whole.map(({ cell }) => cell),
    ['p1/untrained', 'p1/paper/1', 'p1/uniform/1', 'p1/oracle/1'],
  );

  await killAfter(spec, join(folder, 'killed'), 'Cell 3 of 3', ['--only', 'paper,uniform']);
  const first = await readCells(join(folder, 'killed'));
  assert.equal(first.length, 2);
  // As if the kill had come in the middle of a line.
  await appendFile(join(folder, 'killed', RESULTS_FILE), '{"format":"parley.study-cell/1","cell":"p1/uni');
  const { stderr } = await runWhole(spec, join(folder, 'killed'));
  assert.match(stderr, /2 cells to run, 2 are there/);
  const withoutSeconds = (cells: readonly CellResult[]) => cells.map(({ seconds: _, ...rest }) => rest);
  assert.deepEqual(withoutSeconds(await readCells(join(folder, 'killed'))), withoutSeconds(whole));

  const other = await runCommandLine(
    ['study', spec, '--out', join(folder, 'killed'), '--only', 'paper,papers'],
    {
      cwd: folder,
    },
  );
  assert.match(
    other.stderr,
    /--only names rows that the study does not have: papers; it has paper, uniform, oracle/,
  );

  const again = await runWhole(spec, join(folder, 'killed'));
  assert.match(again.stderr, /0 cells to run, 4 are there/);
});

test('cells start from untrained peers, train, turn bad or are refused, and say what they did', async (t) => {
  const folder = await temporaryFolder(t);
  const spec = join(folder, 'study.json');
  const recipe = { preset: 'paper', guards: { action: 'report' } };
  const rows = [
    ...SMALL.rows.slice(2),
    {
      name: 'liar',
      title: 'liar',
      recipe,
      sabotage: { peer: 1, afterRounds: 1, kind: 'liar' },
    },
    { name: 'clones', title: 'clones', peers: 'clones', recipe },
    {
      name: 'let-in',
      title: 'let in',
      peers: 'clones',
      recipe: { ...recipe, guards: { allowClones: true } },
    },
  ];
  await writeFile(spec, JSON.stringify({ ...SMALL, rows }));
  await runWhole(spec, join(folder, 'out'));
  const [untrained, oracle, liar, clones, letIn] = await readCells(join(folder, 'out'));
  assert.equal(untrained.updates.published, 0);
  assert.equal(untrained.lastOfSequence?.length, 3);
  assert.deepEqual([oracle.rounds, oracle.updates.applied, oracle.state], [2, 6, 'completed']);
  assert.equal(new Set([...untrained.weights, ...oracle.weights]).size, 6, 'every peer learnt');
  assert.notEqual(liar.weights[1], untrained.weights[1]);
  assert.deepEqual([liar.rounds, liar.updates.applied, liar.state], [2, 6, 'completed']);
  assert.deepEqual([clones.state, clones.updates.applied], ['refused', 0]);
  assert.match(clones.stateReason, /llama-1.*llama-2/);
  assert.deepEqual(
    letIn.peers.map(({ name }) => name),
    ['llama-1', 'llama-2', 'llama-3'],
  );
  assert.deepEqual([letIn.state, letIn.updates.applied], ['completed', 6]);
  for (const { greedy, passAtK } of oracle.peers) {
    assert.equal(greedy.right.length, 6);
    assert.deepEqual(Object.keys(passAtK), ['1', '2']);
  }
});

test('a specification is refused with every problem by its path', async (t) => {
  const refused = async (change: Record<string, unknown>): Promise<string> => {
    const folder = await temporaryFolder(t);
    await writeFile(join(folder, 'study.json'), JSON.stringify({ ...SMALL, ...change }));
    const { code, stderr } = await runCommandLine(['study', 'study.json', '--out', 'out'], { cwd: folder });
    assert.equal(code, 2, stderr);
    return stderr;
  };
  const [row] = SMALL.rows;
  assert.match(await refused({ colour: 'red' }), /\(the whole\): Unrecognized key: "colour"/);
  assert.match(await refused({ rows: [{ ...row, recipee: {} }] }), /rows\.0: Unrecognized key: "recipee"/);
  assert.match(await refused({ questions: 0 }), /questions: /);
  assert.match(
    await refused({ rows: [{ ...row, populations: ['p9'] }, row] }),
    /rows\.1\.name: "paper" is used twice[^]*rows\.0\.populations: there is no population "p9"/,
  );
  assert.match(
    await refused({ rows: [{ ...row, recipe: { preset: 'paper', weight: { kind: 'heavy' } } }] }),
    /rows\.0\.recipe\.weight\.kind /,
  );
  assert.match(
    await refused({ rows: [{ ...row, train: 'lora:0' }] }),
    /rows\.0\.train: must be full, or lora:/,
  );
  const watched = { preset: 'paper', monitor: { questions: 8 } };
  assert.match(
    await refused({ rows: [{ ...row, recipe: watched }] }),
    /rows\.0\.questions: the monitor pool takes the first 8 of 8/,
  );
  assert.match(
    await refused({ rows: [{ ...row, sabotage: { peer: 0, afterRounds: 2, kind: 'liar' } }] }),
    /rows\.0\.sabotage\.afterRounds: no round is left after 8 of 8 questions/,
  );
  const endless = { rows: [{ ...row, questions: 1e12 }] };
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, 'study.json'), JSON.stringify({ ...SMALL, ...endless }));
  const { stderr } = await runCommandLine(['study', 'study.json', '--out', 'out'], { cwd: folder });
  assert.match(stderr, /The study needs [\d.]+ GB more in .*out, where [\d.]+ GB are free/);
});

test('a file of results names the line that is none, and a cell of another specification', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, RESULTS_FILE);
  const line = JSON.stringify({ format: 'parley.study-cell/1', cell: 'p1/untrained', definition: 'a' });
  const opening = async (text: string) => {
    await writeFile(path, text);
    return openStudyResults(path);
  };
  await assert.rejects(opening(`${line}\n{]\n${line}\n`), /cells\.jsonl, line 2: not valid JSON/);
  await assert.rejects(opening(`${line}\n{"a":1}\n`), /line 2: not the result of a cell/);
  await assert.rejects(opening(`${line}\n${line}\n`), /line 2: cell p1\/untrained is already on line 1/);
  const results = await opening(`${line}\n`);
  const cell = {
    id: 'p1/untrained',
    population: { name: 'p1', task: 'word-problems' as const, seed: 1 },
    seed: 0,
  };
  assert.equal(results.has({ ...cell, definition: 'a' }), true);
  assert.equal(results.has({ ...cell, id: 'p2/untrained', definition: 'a' }), false);
  assert.throws(
    () => results.has({ ...cell, definition: 'b' }),
    /cell p1\/untrained by another specification/,
  );
});

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'parley-study-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function runWhole(spec: string, out: string): Promise<CommandResult> {
  const result = await runCommandLine(['study', spec, '--out', out], {
    cwd: tmpdir(),
    env: process.env as Record<string, string>,
  });
  assert.equal(result.code, 0, result.stderr);
  return result;
}

/** Starts a study, and kills it as soon as it says something. Its mesh ends with it. */
async function killAfter(spec: string, out: string, words: string, options: string[]): Promise<void> {
  const child = spawn(process.execPath, [PARLEY, 'study', spec, '--out', out, ...options], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  for await (const part of child.stderr.setEncoding('utf8')) {
    said += part as string;
    if (said.includes(words)) break;
  }
  child.kill('SIGKILL');
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

async function readCells(folder: string): Promise<CellResult[]> {
  const text = await readFile(join(folder, RESULTS_FILE), 'utf8');
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as CellResult);
}
