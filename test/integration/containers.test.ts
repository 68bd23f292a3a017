import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { STREAMS, filters } from '@parley/bus';
import { PeerAvailabilitySchema } from '@parley/contracts';
import { createRandom } from '@parley/pst';
import { sleep } from '@parley/runtime';
import { composeDemo, findCompose } from '../support/compose.js';
import { missingContainers, startContainerMesh } from '../support/container-mesh.js';
import type { ContainerMesh } from '../support/container-mesh.js';
import { audit, readAll, requireComplete } from '../support/outcome.js';
import type { RunOutcome } from '../support/outcome.js';
import { driveRun, startRun, untilEnded } from '../support/run.js';
import { watchSubjects } from '../support/sightings.js';
import { ARCHITECTURES, makeSmallModels } from '../support/small-models.js';
import type { SmallModel } from '../support/small-models.js';
import { until } from '../support/until.js';

const RUN = 'containers';
const ROUNDS = 3;
const SERVICES = ['nats', 'coordinator', 'pmi', ...ARCHITECTURES];

/** How many containers are killed at random: `PARLEY_TEST_CONTAINER_KILLS=100 npm test test/integration/containers.test.ts`. */
const KILLS = Number(process.env['PARLEY_TEST_CONTAINER_KILLS'] ?? 10);

describe('the mesh in containers', { skip: await missingContainers() }, () => {
  let folder = '';
  let models: SmallModel[] = [];
  let reference: RunOutcome | undefined;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'parley-models-'));
    models = await makeSmallModels(folder);
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it('takes a run from its questions to the versions of every peer', async () => {
    reference = await disturbed(async (mesh) => startRun(mesh, { runId: RUN, rounds: ROUNDS }));
    requireComplete(reference, RUN, ROUNDS);
  });

  it('ends in the same weights though NATS is stopped, frozen and cut off', async (t) => {
    const outcome = await disturbed(async (mesh) => {
      using seen = watchSubjects(mesh.bus);
      await startRun(mesh, { runId: RUN, rounds: ROUNDS });
      await seen.of(`parley.rounds.generated.${RUN}.0`);
      t.diagnostic('stopped');
      await mesh.restart('nats', 3000);
      await seen.of(`parley.rounds.generated.${RUN}.1`);
      t.diagnostic('frozen');
      await mesh.pause('nats');
      await sleep(8000);
      await mesh.unpause('nats');
      await seen.of(`parley.rounds.generated.${RUN}.2`);
      t.diagnostic('cut off');
      await mesh.cutOff('nats');
      await sleep(8000);
      await mesh.reconnect('nats');
    });
    requireSame(outcome);
  });

  it('ends in the same weights though the container of every service is killed and replaced', async (t) => {
    const outcome = await disturbed(async (mesh) => {
      using seen = watchSubjects(mesh.bus);
      await startRun(mesh, { runId: RUN, rounds: ROUNDS });
      for (const [index, service] of SERVICES.entries()) {
        await seen.of(`parley.rounds.generated.${RUN}.${Math.floor((index * ROUNDS) / SERVICES.length)}`);
        t.diagnostic(`replaced ${service}`);
        await mesh.replace(service);
        await mesh.untilUp();
      }
    });
    requireSame(outcome);
  });

  it('names within 10 s a peer that is cut off while it generates, and goes on when it is back', async (t) => {
    const outcome = await disturbed(async (mesh) => {
      await startRun(mesh, { runId: RUN, rounds: ROUNDS });
      const generating = async () => (await mesh.peer('qwen2').describe({})).activity === 'generating';
      await until('qwen2 generates', generating, { pollMs: 5 });
      await mesh.cutOff('qwen2');
      const cut = performance.now();
      const lost = await untilNamed(mesh, 'qwen2');
      const seconds = (performance.now() - cut) / 1000;
      t.diagnostic(`named after ${seconds.toFixed(1)} s: ${lost}`);
      assert.ok(seconds < 10);
      assert.match(lost, /peer qwen2 at qwen2:7410/);
      await mesh.reconnect('qwen2');
    });
    requireSame(outcome);
  });

  it(`ends in the same weights though ${KILLS} containers are killed at random`, async (t) => {
    const kills: Record<string, number> = {};
    const total = () => Object.values(kills).reduce((sum, count) => sum + count, 0);
    for (let seed = 1n; total() < KILLS; seed++) {
      const random = createRandom(seed);
      const outcome = await disturbed(async (mesh) => {
        await startRun(mesh, { runId: RUN, rounds: ROUNDS });
        let ended = false;
        const end = untilEnded(mesh, RUN, 600_000).finally(() => (ended = true));
        while (!ended && total() < KILLS) {
          await sleep(random.integer(100, 2500));
          const service = random.pick(mesh.services);
          await mesh.replace(service);
          kills[service] = (kills[service] ?? 0) + 1;
        }
        await end;
      });
      requireSame(outcome);
      t.diagnostic(`kills: ${JSON.stringify(kills)}, nothing lost or doubled`);
    }
  });

  const compose = findCompose();
  it(
    'is what deploy/compose brings up, with a run that ends well',
    { skip: compose === undefined && 'neither docker compose nor docker-compose is there' },
    async (t) => {
      const demo = await composeDemo(compose ?? []);
      const started = Date.now();
      try {
        demo.up();
        const { code, log } = demo.wait();
        assert.equal(code, 0, log);
        assert.match(log, /completed \(2 rounds, 6 of 6 updates applied\)/);
        const first = log.split('\n').find((line) => / version 1 from round 0/.test(line)) ?? '';
        const seconds = (Date.parse(first.split(' ')[0] ?? '') - started) / 1000;
        t.diagnostic(`first version ${seconds.toFixed(0)} s after up`);
      } finally {
        demo.down();
      }
    },
  );

  async function disturbed(drive: (mesh: ContainerMesh) => Promise<void>): Promise<RunOutcome> {
    await using mesh = await startContainerMesh(models);
    return await driveRun(mesh, RUN, () => drive(mesh), 300_000);
  }

  function requireSame(outcome: RunOutcome): void {
    assert.ok(reference, 'there is nothing to compare with: the undisturbed run has failed');
    assert.deepEqual(audit(reference, outcome), { lost: 0, doubled: 0, changed: 0, differences: [] });
    assert.deepEqual(outcome, reference);
  }
});

/** What is said of a peer that is lost. */
async function untilNamed(mesh: ContainerMesh, name: string): Promise<string> {
  let found = '';
  await until(
    `${name} is named`,
    async () => {
      const events = await readAll(mesh, STREAMS.events, PeerAvailabilitySchema, filters.events(RUN, 'peer'));
      const lost = events.find(({ message: { peer, available } }) => peer === name && !available);
      found = lost?.message.cause?.message ?? '';
      return lost !== undefined;
    },
    { deadlineMs: 20_000, pollMs: 50 },
  );
  return found;
}
