import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { resolveRecipe } from '@parley/pst';
import type { CellResult, Correctness } from '../cell-result.js';
import { runCommandLine } from '../../fixtures/test-cli.js';

/** What the last peer of a sequence, the peers and the vote got right: four questions each. */
interface Rights {
  a: string;
  b: string;
  vote: string;
  lasts?: string[];
}

const correct = (right: string): Correctness => {
  const given = right.replaceAll('-', '');
  return { right, accuracy: given.replaceAll('0', '').length / given.length };
};

function recipe(weight: object, learningRate: number) {
  const resolved = resolveRecipe({ preset: 'paper', weight, training: { learningRate } }, { peers: 2 });
  assert.ok(resolved.ok);
  return resolved.recipe;
}

function cell(
  population: string,
  row: string,
  seed: number,
  rights: Rights,
  over: Partial<CellResult> = {},
): CellResult {
  const peer = (name: 'a' | 'b', gap: number) => ({
    name,
    greedy: correct(rights[name]),
    sampled: correct(rights[name]).accuracy,
    majority: 0.5,
    passAtK: { '1': 0.25, '2': 0.5 },
    gap: { generatorAccuracy: 0.5, selectedAccuracy: 0.5 + gap, gap, relativeGap: null, auc: 0.75 },
    yesNoGap: null,
    entropy: 0.25,
    tokens: 14,
    unparseable: 0,
  });
  const untrained = row === 'untrained';
  return {
    format: 'parley.study-cell/1',
    cell: untrained ? `${population}/untrained` : `${population}/${row}/${seed}`,
    definition: '0',
    population,
    task: 'sums',
    row,
    title: `The row ${row}`,
    seed,
    recipe: untrained ? null : recipe({ kind: 'sigmoid' }, 1e-4),
    train: 'full',
    questions: untrained ? 0 : 64,
    state: 'completed',
    stateReason: '',
    rounds: 2,
    updates: { published: 4, applied: 4, items: 10, optimizerSteps: 4 },
    accepted: untrained ? null : 0.5,
    verdicts: [],
    peers: [peer('a', untrained ? 0.2 : 0.1), peer('b', untrained ? 0.1 : 0.05)],
    vote: correct(rights.vote),
    agreement: 0.5,
    ...(rights.lasts && { lastOfSequence: rights.lasts.map(correct) }),
    weights: [],
    seconds: { train: 30, measure: 6 },
    ...over,
  };
}

const UNIFORM = { recipe: recipe({ kind: 'uniform' }, 1e-4) };
const STOPPED = {
  state: 'stopped',
  stateReason: 'entropy fell',
  verdicts: [
    {
      round: 1,
      peer: 'b',
      guard: 'entropyDrop',
      value: 0.8,
      threshold: 0.75,
      action: 'pause-run',
      message: 'entropy fell',
    },
  ],
};

/** Two populations; `oracle` is on the first alone. */
const CELLS = [
  cell('p1', 'untrained', 0, { a: '1100', b: '1000', vote: '1100', lasts: ['1110', '1000'] }),
  cell('p1', 'default', 1, { a: '1110', b: '1100', vote: '1000' }),
  cell('p1', 'default', 2, { a: '1100', b: '0000', vote: '1100' }, STOPPED),
  cell('p1', 'uniform', 1, { a: '1110', b: '1000', vote: '1100' }, UNIFORM),
  cell('p1', 'oracle', 1, { a: '1111', b: '1111', vote: '1111' }),
  cell('p2', 'untrained', 0, { a: '0000', b: '0011', vote: '0001', lasts: ['0011', '0001'] }),
  cell('p2', 'default', 1, { a: '1000', b: '0111', vote: '0011' }),
  cell('p2', 'uniform', 1, { a: '0000', b: '0011', vote: '0001' }, UNIFORM),
];

test('tables hold what is worked out by hand', async (t) => {
  const { results } = await reportOn(t, lines(CELLS), ['--no-charts']);
  const text = await readFile(results, 'utf8');
  for (const line of [
    // Peers: p1 (25 − 12.5) / 2 = 6.25, p2 25; t of one degree of freedom at 0.975 is 12.706, times 9.375.
    '| The row default | 2 of 2 | 31.3 → 46.9 % | +15.6 [−103.5, +134.7] | −25.0 (p1 b) | +6.3 [−232.0, +244.5] | −25.0 (p1) | 10 % |',
    '| The row oracle | 1 of 2 | 37.5 → 100.0 % | +62.5 | +50.0 (p1 a) | +50.0 | +50.0 (p1) | 100 % |',
    '| The row default | +15.6 [−103.5, +134.7] | ±0.0 [±0.0, ±0.0] | 15.0 → 7.5 | −50 % | 0.750 → 0.750 |',
    '| The row default | 187.5 | 31.3 | 50.0 → 50.0 % | 0.250 → 0.250 | 14.0 → 14.0 | 0.0 → 0.0 % |',
    '| The row default | 3 | 50 % | 4.0 of 4.0 | 10 | 4 | 1 | 1 | 30 s | 6.0 s |',
    '| `p1/default/2` | 1 | b | `entropyDrop` | 0.800 | 0.75 | `pause-run` | −25.0 |',
    '- `p1/default/2` stopped: entropy fell',
    // Sequences: p1 75 and 25, p2 50 and 25; the best peer has 50 in both.
    '| The last peer of a sequence (best order) | 62.5 % | +31.3 [−48.2, +110.7] | +12.5 [−146.3, +171.3] | 1 of 2 |',
    "| The vote of the peers' greedy answers | 37.5 % | +6.3 [−73.2, +85.7] | −12.5 [−171.3, +146.3] | 0 of 2 |",
    '| p2 | 25.0 % | 50.0 % | 25.0 % | 37.5 % | −12.5 |',
    // Seed 1 alone, which both have: p1 25 − 12.5, p2 25 − 0; of the vote +25 and −25.
    '| 1e-4 | uniform | 2 | +18.8 [−60.7, +98.2] | not excluded | ±0.0 [−317.7, +317.7] | not excluded |',
  ]) {
    assert.ok(text.includes(`${line}\n`), `no line ${line} in\n${text}`);
  }
  assert.match(
    text,
    /#### p1\n\n.*\n.*\n\| untrained \| {2}\| 50\.0 % \| 25\.0 % \| 50\.0 % \|\n\| The row default \| 2 \| \+12\.5 \[/,
  );
});

test('the same results give the same bytes: tables, SVG that a strict parser reads, PNG of twice its size', async (t) => {
  const [first, second] = [await reportOn(t, lines(CELLS)), await reportOn(t, lines(CELLS))];
  const files = (await readdir(first.folder)).sort();
  const charts = ['changes', 'gap', 'learning-rate', 'peers', 'vote'];
  assert.deepEqual(files, [
    'results.md',
    ...charts.flatMap((chart) => [`sums-${chart}.png`, `sums-${chart}.svg`]),
  ]);
  for (const file of files) {
    const bytes = await readFile(join(first.folder, file));
    assert.ok(bytes.equals(await readFile(join(second.folder, file))), file);
  }
  const text = await readFile(first.results, 'utf8');
  for (const chart of charts) {
    assert.ok(text.includes(`(sums-${chart}.svg)`), chart);
    const svg = await readFile(join(first.folder, `sums-${chart}.svg`), 'utf8');
    const [, width, height] = /^<svg xmlns="[^"]+" width="(\d+)" height="(\d+)"/.exec(svg) ?? [];
    assert.doesNotMatch(svg, /NaN|undefined/);
    const png = await readFile(join(first.folder, `sums-${chart}.png`));
    assert.equal(png.toString('latin1', 1, 4), 'PNG');
    assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20)], [2 * Number(width), 2 * Number(height)]);
  }
});

test('copies of a peer are beside that peer, and answers that are not there take no part', async (t) => {
  const [untrained] = CELLS;
  const copies = cell('p1', 'copies', 1, { a: '1111', b: '11-0', vote: '1111' });
  copies.peers = copies.peers.map((peer, i) => ({ ...peer, name: `a-${i + 1}` }));
  const { results } = await reportOn(t, lines([untrained, copies]), ['--no-charts']);
  const text = await readFile(results, 'utf8');
  // Both were 1100: +50, and 2 of 3 less 50; three of four and two of three answers stayed.
  assert.ok(
    text.includes('| The row copies | 1 of 1 | 50.0 → 83.3 % | +33.3 | +16.7 (p1 a-2) | +50.0 |'),
    text,
  );
  assert.ok(text.includes('| The row copies | 250.0 | 0.0 | 100.0 → 50.0 % |'), text);
});

const [BEFORE, AFTER] = CELLS;
const FAILURES: [what: string, text: string, message: RegExp][] = [
  ['nothing', '', /cells\.jsonl is empty: let the study run first/],
  ['a last line that is cut off', lines(CELLS).slice(0, -9), /The last line of .* is cut off/],
  ['what is not JSON', '{\n', /cells\.jsonl, line 1: not valid JSON/],
  [
    'fields of another type',
    lines([BEFORE, { ...AFTER, agreement: 'much' as never, vote: { accuracy: 1, right: 'yes' } }]),
    /line 2: cell p1\/default\/1 is no sound result; .*\n {2}vote\.right: has other characters .*\n {2}agreement: /,
  ],
  ['a cell twice', lines([BEFORE, AFTER, AFTER]), /cell p1\/default\/1 is already on line 2/],
  [
    'no untrained cell',
    lines([AFTER]),
    /Cell p1\/default\/1 cannot be reported: there is no untrained cell of population p1 and task sums; let the study/,
  ],
  [
    'two untrained cells',
    lines([BEFORE, { ...BEFORE, cell: 'p1/again' }]),
    /population p1 has a second untrained cell/,
  ],
  [
    'a strange peer',
    lines([BEFORE, { ...AFTER, peers: AFTER.peers.map((peer) => ({ ...peer, name: 'z' })) }]),
    /its peer z is none of the population's \(a, b\)/,
  ],
  [
    'other questions',
    lines([BEFORE, cell('p1', 'default', 1, { a: '11', b: '10', vote: '11' })]),
    /it has 2 answers, its population untrained 4; measure both on the same questions/,
  ],
];

for (const [what, text, message] of FAILURES) {
  test(`${what} is refused`, async (t) => {
    const folder = await temporaryFolder(t);
    await writeFile(join(folder, 'cells.jsonl'), text);
    const { code, stderr } = await runCommandLine(['study', 'report', 'cells.jsonl', '--to', 'report'], {
      cwd: folder,
    });
    assert.equal(code, 2);
    assert.match(stderr, message);
    assert.deepEqual(await readdir(folder), ['cells.jsonl']);
  });
}

test('results that cannot be read, and an option that is missing, are named', async (t) => {
  const cwd = await temporaryFolder(t);
  const missing = await runCommandLine(['study', 'report', 'none.jsonl', '--to', 'report'], { cwd });
  assert.equal(missing.code, 2);
  assert.match(missing.stderr, /The results .*none\.jsonl cannot be read/);
  const study = await runCommandLine(['study', 'spec.json'], { cwd });
  assert.match(study.stderr, /required option '--out <folder>' not specified/);
});

function lines(cells: readonly CellResult[]): string {
  return cells.map((one) => `${JSON.stringify(one)}\n`).join('');
}

async function reportOn(t: TestContext, cells: string, options: string[] = []) {
  const cwd = await temporaryFolder(t);
  await writeFile(join(cwd, 'cells.jsonl'), cells);
  const { code, stdout, stderr } = await runCommandLine(
    ['study', 'report', 'cells.jsonl', '--to', 'report', ...options],
    { cwd },
  );
  assert.deepEqual([code, stderr], [0, '']);
  return { folder: join(cwd, 'report'), results: stdout.trim() };
}

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'parley-report-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
