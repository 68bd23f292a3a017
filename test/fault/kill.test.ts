import { deepEqual, ok } from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createRandom } from '@parley/pst';
import { sleep } from '@parley/runtime';
import { startProcessMesh } from '../support/process-mesh.js';
import type { ProcessMesh } from '../support/process-mesh.js';
import { audit, requireComplete } from '../support/outcome.js';
import type { RunOutcome } from '../support/outcome.js';
import { driveRun, startRun, untilEnded } from '../support/run.js';
import { watchSubjects } from '../support/sightings.js';
import type { Sightings } from '../support/sightings.js';
import { makeSmallModels } from '../support/small-models.js';
import type { SmallModel } from '../support/small-models.js';
import { until } from '../support/until.js';

const RUN = 'fault';
const ROUNDS = 3;

/** Waits for a moment of the run; the service is killed when it has come. */
type Moment = (mesh: ProcessMesh, seen: Sightings) => Promise<void>;

const published =
  (subject: string): Moment =>
  (_, seen) =>
    seen.of(`parley.${subject}`);

/** While a peer applies the update of a round: its optimiser is at work. */
const applying =
  (peer: string, round: number): Moment =>
  async (mesh, seen) => {
    await seen.of(`parley.updates.${peer}.${RUN}.${round}`);
    const isTraining = async () => (await mesh.peer(peer).describe({})).activity === 'training';
    await until(`${peer} trains`, isTraining, { pollMs: 5 });
  };

/** When each service is killed, several times a run. A version is published between its commit and the acknowledgement. */
const STRIKES: Record<string, Moment[]> = {
  coordinator: [
    published(`rounds.generated.${RUN}.0`),
    async (mesh, seen) => {
      await Promise.all(mesh.peers.map((peer) => seen.of(`parley.versions.${peer}.1`)));
      await sleep(40); // The next round is being asked.
    },
    published(`rounds.scored.${RUN}.2`),
  ],
  pmi: [
    published(`rounds.generated.${RUN}.0`),
    published(`rounds.scored.${RUN}.1`),
    published(`updates.llama.${RUN}.2`),
  ],
  llama: [applying('llama', 0), published('versions.llama.3')],
  qwen2: [published('versions.qwen2.1'), published(`rounds.generated.${RUN}.1`), applying('qwen2', 2)],
  gemma2: [applying('gemma2', 1), published('versions.gemma2.2')],
  nats: [
    published(`rounds.generated.${RUN}.0`),
    applying('llama', 1),
    published('versions.llama.2'),
    published(`updates.gemma2.${RUN}.2`),
  ],
};

/** The bigger soak: `PARLEY_TEST_SOAK_KILLS=1000 npm test test/fault/kill.test.ts`. */
const SOAK_KILLS = Number(process.env['PARLEY_TEST_SOAK_KILLS'] ?? 0);
const SOAK_SEED = BigInt(process.env['PARLEY_TEST_SOAK_SEED'] ?? 1);

describe(
  'a lock-step run ends in the same weights, whatever is killed on the way',
  { concurrency: 3 },
  () => {
    let folder = '';
    let models: SmallModel[] = [];
    let reference: RunOutcome;

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'parley-models-'));
      models = await makeSmallModels(folder);
      reference = await disturbed(models, begin);
      requireComplete(reference, RUN, ROUNDS);
    });
    after(() => rm(folder, { recursive: true, force: true }));

    for (const [service, moments] of Object.entries(STRIKES)) {
      test(`${service}, killed ${moments.length} times`, async (t) => {
        const outcome = await disturbed(models, async (mesh) => {
          using seen = watchSubjects(mesh.bus);
          await startRun(mesh, { runId: RUN, rounds: ROUNDS });
          for (const moment of moments) {
            await moment(mesh, seen);
            ok(mesh.kill(service), `${service} was running`);
            t.diagnostic(`killed ${service}`);
          }
        });
        requireSame(outcome);
      });
    }

    test('any service, at random moments', async (t) => {
      const { outcome, kills } = await soak(SOAK_SEED, 25_000);
      t.diagnostic(`kills: ${JSON.stringify(kills)}`);
      ok(total(kills) >= 5, 'the run was disturbed');
      requireSame(outcome);
    });

    if (SOAK_KILLS > 0)
      test('many kills', async (t) => {
        const kills: Record<string, number> = {};
        const sum = { runs: 0, lost: 0, doubled: 0, changed: 0 };
        for (let seed = SOAK_SEED; total(kills) < SOAK_KILLS; seed++) {
          const { outcome, kills: more } = await soak(seed, Infinity);
          for (const [service, count] of Object.entries(more)) kills[service] = (kills[service] ?? 0) + count;
          const { lost, doubled, changed, differences } = audit(reference, outcome);
          sum.runs++;
          sum.lost += lost;
          sum.doubled += doubled;
          sum.changed += changed;
          // The runner holds diagnostics back until the end, which is hours away.
          console.error(JSON.stringify({ seed: Number(seed), kills: total(kills), ...sum, differences }));
        }
        t.diagnostic(`kills by service: ${JSON.stringify(kills)}`);
        deepEqual({ ...sum, runs: 0 }, { runs: 0, lost: 0, doubled: 0, changed: 0 });
      });

    /** A run through which services are killed at random until it ends or `budgetMs` has passed. */
    async function soak(seed: bigint, budgetMs: number) {
      const random = createRandom(seed);
      const kills: Record<string, number> = {};
      const outcome = await disturbed(models, async (mesh) => {
        await startRun(mesh, { runId: RUN, rounds: ROUNDS });
        const endMs = performance.now() + budgetMs;
        let ended = false;
        const end = untilEnded(mesh, RUN, 600_000).finally(() => (ended = true));
        while (!ended && performance.now() < endMs) {
          await sleep(random.integer(100, 2500));
          const service = random.pick(mesh.services);
          if (!ended && mesh.kill(service)) kills[service] = (kills[service] ?? 0) + 1;
        }
        await end;
      });
      return { outcome, kills };
    }

    function requireSame(outcome: RunOutcome): void {
      deepEqual(audit(reference, outcome), { lost: 0, doubled: 0, changed: 0, differences: [] });
      deepEqual(outcome, reference);
    }
  },
);

function begin(mesh: ProcessMesh): Promise<void> {
  return startRun(mesh, { runId: RUN, rounds: ROUNDS });
}

/** Takes a mesh of its own through the run, which `drive` begins and disturbs, and reads what became of it. */
async function disturbed(
  models: SmallModel[],
  drive: (mesh: ProcessMesh) => Promise<void>,
): Promise<RunOutcome> {
  await using mesh = await startProcessMesh({ peers: models });
  return await driveRun(mesh, RUN, () => drive(mesh));
}

function total(kills: Record<string, number>): number {
  return Object.values(kills).reduce((sum, count) => sum + count, 0);
}
