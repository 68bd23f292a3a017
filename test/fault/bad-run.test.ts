import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { STREAMS, createPublisher, filters, subjects } from '@parley/bus';
import { RoundGeneratedSchema, RoundScoredSchema, RunState, WeightedUpdateSchema } from '@parley/contracts';
import { isParleyError } from '@parley/runtime';
import { run } from '../support/launch.js';
import { readAll, readRejections, readVersions } from '../support/outcome.js';
import { startProcessMesh } from '../support/process-mesh.js';
import type { ProcessMesh } from '../support/process-mesh.js';
import { withLogs } from '../support/running-mesh.js';
import { createRun, untilEnded } from '../support/run.js';
import { makeSmallModels, smallQuestions } from '../support/small-models.js';
import { until } from '../support/until.js';

const PER_ROUND = 8;

describe('what a mesh is asked that it cannot do', () => {
  let folder = '';
  let mesh: ProcessMesh;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'parley-bad-run-'));
    mesh = await startProcessMesh({ peers: await makeSmallModels(folder) });
  });
  after(async () => {
    await mesh[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  const cli = (...args: string[]) => run('cli', {}, [...args, '--state', join(folder, 'cli')]);

  test('NaN in an update: refused by call and by stream, named, and the run goes on without it', () =>
    withLogs(mesh, async () => {
      const runId = 'nan';
      const poison = {
        updateId: `${runId}/1/llama`,
        runId,
        round: 1n,
        peer: 'llama',
        items: [{ promptId: 'p1', question: '1 plus 1 =', target: 'A: 2', weight: NaN }],
      };
      const before = await mesh.peer('llama').describe({});
      await rejects(mesh.peer('llama').applyUpdate({ update: poison }), (error) => {
        ok(isParleyError(error, 'WEIGHT_NOT_FINITE') && error.code === 'INVALID_ARGUMENT', String(error));
        match(error.message, /Item 0 \(prompt p1\) of update nan\/1\/llama has weight NaN/);
        return true;
      });
      const after = await mesh.peer('llama').describe({});
      deepEqual([after.version, after.weightsSha256], [before.version, before.weightsSha256]);

      await createRun(mesh, { runId, rounds: 3, promptsPerRound: PER_ROUND });
      const prompts = smallQuestions(3 * PER_ROUND);
      await mesh.coordinator.submitPrompts({ runId, prompts: prompts.slice(0, PER_ROUND) });
      await until('round 0 is applied', async () => {
        const { progress } = (await mesh.coordinator.getRun({ runId })).run ?? {};
        return progress?.updatesApplied === 3n;
      });
      const { weightsSha256 } = await mesh.peer('llama').describe({});
      const publisher = createPublisher(mesh.bus, { source: 'parley/test', blobs: mesh.blobs });
      const options = { subject: subjects.update('llama', runId, 1), id: poison.updateId };
      await publisher.publishOnce(WeightedUpdateSchema, poison, options);
      await until('the refusal is told', async () => (await readRejections(mesh, runId)).length > 0);
      equal(
        (await mesh.peer('llama').describe({})).weightsSha256,
        weightsSha256,
        'the weights are unchanged',
      );
      await mesh.coordinator.submitPrompts({ runId, prompts: prompts.slice(PER_ROUND), close: true });

      const ended = await untilEnded(mesh, runId, 30_000);
      equal(RunState[ended.state], 'COMPLETED');
      const [rejected, ...more] = await readRejections(mesh, runId);
      equal(more.length, 0);
      deepEqual(
        [rejected?.updateId, rejected?.peer, rejected?.cause?.reason],
        [poison.updateId, 'llama', 'WEIGHT_NOT_FINITE'],
      );
      match(ended.stateReason, /nan\/1\/llama/, 'the state says what is missing');
      deepEqual([ended.progress?.updatesPublished, ended.progress?.updatesApplied], [9n, 8n]);
      const applied = (await readVersions(mesh, 'llama')).map(
        ({ cause }) => cause.case === 'update' && cause.value.updateId,
      );
      deepEqual(applied, [`${runId}/0/llama`, `${runId}/2/llama`]);
    }));

  test('a question longer than the context: a typed failure for each peer, no score, no training; the rest goes on', () =>
    withLogs(mesh, async () => {
      const runId = 'long';
      const prompts = smallQuestions(PER_ROUND, 2n);
      prompts[3].question = 'how many '.repeat(100);
      await createRun(mesh, { runId, rounds: 1, promptsPerRound: PER_ROUND });
      await mesh.coordinator.submitPrompts({ runId, prompts, close: true });
      const ended = await untilEnded(mesh, runId, 30_000);
      equal(RunState[ended.state], 'COMPLETED');
      const [round] = await readAll(mesh, STREAMS.rounds, RoundGeneratedSchema, filters.generated(runId));
      const items = round?.message.items ?? [];
      equal(items.length, PER_ROUND);
      for (const { outcome } of items[3].responses) {
        ok(outcome.case === 'failure');
        equal(outcome.value.reason, 'PROMPT_TOO_LONG');
        match(outcome.value.message, new RegExp(`${items[3].promptId}.*tokens.*192`));
      }
      deepEqual([items[3].aggregate?.accepted, items[3].aggregate?.rejection], [false, 'no-answer']);
      ok(items.some(({ aggregate }) => aggregate?.accepted));
      const [scored] = await readAll(mesh, STREAMS.rounds, RoundScoredSchema, filters.scored(runId));
      for (const { items: scores } of scored?.message.peers ?? []) {
        deepEqual([scores[3]?.normalizedPmi, scores[3]?.weight], [undefined, 0]);
      }
      for (const { message } of await readAll(
        mesh,
        STREAMS.updates,
        WeightedUpdateSchema,
        filters.updatesOfRun(runId),
      )) {
        ok(message.items.length > 0 && message.items.every(({ promptId }) => promptId !== items[3].promptId));
      }
    }));

  test('an unknown peer and a contradictory recipe are named, by call and on the command line', async () => {
    const spec = { runId: 'bad', rounds: 1 };
    await rejects(createRun(mesh, { ...spec, peers: ['llama', 'ghost'] }), (error) => {
      ok(isParleyError(error, 'PEER_UNKNOWN') && error.code === 'NOT_FOUND', String(error));
      match(error.message, /ghost; start it first \(announced are: .*llama.*\)/);
      return true;
    });
    const contradictions = { aggregate: { strategy: 'trust' as const }, weight: { min: 5, max: 1 } };
    await rejects(createRun(mesh, { ...spec, unchecked: contradictions }), (error) => {
      ok(isParleyError(error, 'RECIPE_INVALID') && error.code === 'INVALID_ARGUMENT', String(error));
      match(error.message, /weight\.(min|max)/);
      return true;
    });

    const questions = join(folder, 'questions.txt');
    await writeFile(questions, 'How many?\nHow few?\n');
    const here = ['--questions', questions, '--coordinator', mesh.local.coordinator ?? ''];
    const ghost = await cli('run', ...here, '--peer', 'llama', '--peer', 'ghost');
    equal(ghost.code, 2, ghost.stderr);
    match(ghost.stderr, /parley: .*peer.* "?ghost"?/);
    const recipe = await cli(
      'run',
      ...here,
      '--set',
      'weight.min=5',
      '--set',
      'weight.max=1',
      '--set',
      'rounds.quorum=9',
    );
    equal(recipe.code, 2, recipe.stderr);
    match(recipe.stderr, /weight\.(min|max)/);
    match(recipe.stderr, /rounds\.quorum/);
    const { runs } = await mesh.coordinator.listRuns({});
    ok(
      runs.every(({ runId }) => runId !== 'bad' && !runId.startsWith('run-')),
      'no run was made',
    );
  });
});
