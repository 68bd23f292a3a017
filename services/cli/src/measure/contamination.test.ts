import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { DescribeResponseSchema, RunSchema, RunState } from '@parley/contracts';
import { PAPER } from '@parley/pst';
import { isParleyError } from '@parley/runtime';
import type { PeerOption } from '../input/peer-option.js';
import { stateFolder } from '../mesh/state-folder.js';
import type { StateFolder } from '../mesh/state-folder.js';
import { writeRunQuestions } from '../runs/run-questions.js';
import { createRunRecord, writeRunRecord } from '../runs/run-record.js';
import { checkContamination, contaminationOf, readTrainingPrompts } from './contamination.js';

const PEERS: PeerOption[] = [
  { kind: 'name', name: 'ant' },
  { kind: 'address', name: 'bee', address: 'host:1' },
];
const QUESTIONS = ['one?', 'two?'].map((question, index) => ({
  promptId: `q${index}`,
  question,
  answer: '1',
}));

/** A run that took peer ant from one version to another. */
async function recordRun(
  state: StateFolder,
  runId: string,
  versions: [bigint, bigint],
  questions?: string[],
) {
  const [before, after] = versions.map((version) => [
    create(DescribeResponseSchema, { name: 'ant', version }),
  ]);
  const prompts = (questions ?? ['unknown']).map((question, index) => ({ promptId: `p${index}`, question }));
  const record = createRunRecord({
    run: create(RunSchema, { runId, state: RunState.COMPLETED }),
    recipe: PAPER,
    prompts,
    before: before ?? [],
    after: after ?? [],
    history: { rounds: [], guardVerdicts: [], unavailable: [], rejectedUpdates: [] },
    startTime: new Date(0),
    endTime: new Date(0),
  });
  await writeRunRecord(state.run(runId), record);
  if (questions) await writeRunQuestions(state.run(runId), prompts);
}

test('questions of recorded runs are known to have trained the peers of the mesh that is up', async (t) => {
  const state = stateFolder(await mkdtemp(join(tmpdir(), 'parley-contamination-')));
  t.after(() => rm(state.root, { recursive: true, force: true }));
  const read = () => readTrainingPrompts([], PEERS, { stdin: Readable.from([]), state });
  const allowed = { templates: ['{question} Solve it.'], allow: true };
  const reportAt = async (version: number) => {
    const training = await read();
    const ids = checkContamination(QUESTIONS, training, allowed);
    return contaminationOf(ids, training, PEERS, new Map([['ant', version]]));
  };
  const unknown = { peer: 'bee', why: 'no records of such training here' };
  assert.deepEqual(await reportAt(0), { ids: [], comparedWith: [], notChecked: [unknown] });
  assert.deepEqual((await reportAt(2)).notChecked, [
    { peer: 'ant', why: 'records here tell of 0 of its 2 versions' },
    unknown,
  ]);

  await recordRun(state, 'run-1', [0n, 2n], ['Three?', ' TWO  solve it']);
  assert.deepEqual(await reportAt(2), {
    ids: ['q1'],
    comparedWith: [{ source: 'run run-1', prompts: 2 }],
    notChecked: [unknown],
  });
  assert.throws(
    () =>
      void checkContamination(
        QUESTIONS,
        { sources: [{ source: 'run run-1', prompts: ['two'] }], runs: new Map() },
        { ...allowed, allow: false },
      ),
    (error) => {
      assert.ok(isParleyError(error, 'CONTAMINATED'));
      assert.match(error.message, /^1 of 2 questions is among the training prompts of run run-1: q1\. /);
      return true;
    },
  );

  await recordRun(state, 'run-2', [2n, 3n]);
  assert.deepEqual((await reportAt(3)).notChecked, [
    { peer: 'ant', why: 'no questions are kept of run-2' },
    unknown,
  ]);

  await recordRun(state, 'run-alone', [0n, 9n], ['one?']);
  await mkdir(join(state.run('run-alone'), 'mesh'));
  assert.deepEqual((await reportAt(3)).ids, ['q1'], 'a run with a mesh of its own trained another ant');
});
