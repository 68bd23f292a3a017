import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { STREAMS, filters } from '@parley/bus';
import { GuardVerdictSchema, RoundGeneratedSchema, RunState } from '@parley/contracts';
import type { RecipeOverride } from '@parley/pst';
import { readAll } from '../support/outcome.js';
import { startProcessMesh } from '../support/process-mesh.js';
import type { ProcessMesh } from '../support/process-mesh.js';
import { createRun, untilEnded } from '../support/run.js';
import { withLogs } from '../support/running-mesh.js';
import { makeSmallModels, smallQuestions } from '../support/small-models.js';
import { until } from '../support/until.js';

/** There are 25 questions of this kind; those of the pool are in no round. */
const POOL = 12;
const PER_ROUND = 16;
const PROMPTS = 1000;

/** Any sign of collapse does: models this small say little that agreement could be measured by. */
const recipe = (action: 'rollback' | 'quarantine', more: RecipeOverride = {}): RecipeOverride => ({
  monitor: { questions: POOL },
  guards: { frozenAgreementDrop: 0.3, parseableDrop: 0.3, lengthDrift: 0.8, action },
  ...more,
});

describe('models that collapse', () => {
  let folder = '';
  let mesh: ProcessMesh;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'parley-collapse-'));
    mesh = await startProcessMesh({ peers: await makeSmallModels(folder) });
  });
  after(async () => {
    await mesh[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  const digests = async () =>
    Promise.all(mesh.peers.map(async (name) => (await mesh.peer(name).describe({})).weightsSha256));
  const verdicts = async (runId: string) =>
    (await readAll(mesh, STREAMS.events, GuardVerdictSchema, filters.events(runId, 'guard'))).map(
      ({ message }) => message,
    );

  test('a learning rate that destroys them: whoever collapses ends with the weights that it began with', () =>
    withLogs(mesh, async () => {
      const runId = 'ruin';
      const start = await digests();
      const ruin = recipe('rollback', { training: { learningRate: 1, maxGradNorm: 0 } });
      await createRun(mesh, { runId, rounds: 1, promptsPerRound: PER_ROUND, recipe: ruin });
      const prompts = withPool(smallQuestions(PROMPTS)).slice(0, POOL + PER_ROUND);
      await mesh.coordinator.submitPrompts({ runId, prompts, close: true });
      const ended = await untilEnded(mesh, runId, 60_000);
      equal(RunState[ended.state], 'COMPLETED', ended.stateReason);
      const found = await verdicts(runId);
      ok(
        found.every(
          ({ action, round, version }) => action === 'rollback-peer' && round === 1n && version === 1n,
        ),
      );
      const judged = mesh.peers.map((name) => found.some(({ peer }) => peer === name));
      ok(judged.filter(Boolean).length >= 2, `most of them collapsed: ${judged.join()}`);
      const end = await digests();
      deepEqual(
        end.map((digest, peer) => digest === start[peer]),
        judged,
        'who collapsed has its first weights back',
      );
    }));

  test('weights that are corrupted between rounds: the peer is left out before it answers', () =>
    withLogs(mesh, async () => {
      const runId = 'corrupted';
      const prompts = withPool(smallQuestions(PROMPTS)).slice(0, POOL + 2 * PER_ROUND);
      await createRun(mesh, { runId, rounds: 2, promptsPerRound: PER_ROUND, recipe: recipe('quarantine') });
      await mesh.coordinator.submitPrompts({ runId, prompts: prompts.slice(0, POOL + PER_ROUND) });
      await until('round 0 is applied', async () => {
        const { progress } = (await mesh.coordinator.getRun({ runId })).run ?? {};
        return progress?.updatesApplied === 3n;
      });
      const { version } = await mesh.peer('llama').describe({});
      const file = join(mesh.local.state.peer('llama'), 'versions', `${version}.safetensors`);
      const { uri, digest } = await mesh.blobs.put('corrupted.safetensors', negated(await readFile(file)));
      await mesh.peer('llama').restore({
        requestId: 'corrupt',
        source: { case: 'weights', value: { uri, sha256: digest } },
      });
      await mesh.coordinator.submitPrompts({ runId, prompts: prompts.slice(POOL + PER_ROUND), close: true });
      const ended = await untilEnded(mesh, runId, 60_000);
      equal(RunState[ended.state], 'COMPLETED', ended.stateReason);
      const found = await verdicts(runId);
      ok(found.length > 0);
      ok(
        found.every(
          ({ peer, action, round }) => peer === 'llama' && action === 'quarantine-peer' && round === 1n,
        ),
      );
      const [, round] = await readAll(mesh, STREAMS.rounds, RoundGeneratedSchema, filters.generated(runId));
      const [llama, ...others] = round.message.peers;
      equal(llama.missing?.reason, 'PEER_QUARANTINED');
      match(llama.missing.message, /^left out since round 1: llama: /);
      ok(others.every(({ missing }) => missing === undefined));
      ok(round.message.items.every(({ responses }) => responses[0].outcome.case === 'failure'));
    }));
});

/** The same prompts, begun with those of a pool: different questions, which do not come again. */
function withPool<T extends { question: string }>(prompts: readonly T[]): T[] {
  const pool = [...new Map(prompts.map((prompt) => [prompt.question, prompt])).values()].slice(0, POOL);
  const asked = new Set(pool.map(({ question }) => question));
  return [...pool, ...prompts.filter(({ question }) => !asked.has(question))];
}

/** A safetensors file with every 32-bit number negated: as large as before, and nothing like it. */
function negated(file: Buffer): Uint8Array {
  const begin = 8 + Number(file.readBigUInt64LE(0));
  for (let at = begin + 3; at < file.length; at += 4) file[at] ^= 0x80;
  return file;
}
