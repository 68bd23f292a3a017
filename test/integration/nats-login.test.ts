import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { startNatsServer } from '@parley/bus/testing';
import { CoordinatorService } from '@parley/contracts';
import { createCleanupStack, createClient } from '@parley/runtime';
import { launch, run } from '../support/launch.js';
import { writeSmallModel } from '../support/small-models.js';
import { until } from '../support/until.js';

const SERVICES = ['peer', 'coordinator', 'pmi'] as const;

/** nats-server with a login, and the environment of each service to reach it. */
async function setUp() {
  const cleanup = createCleanupStack();
  const folder = await mkdtemp(join(tmpdir(), 'parley-login-'));
  cleanup.defer(() => rm(folder, { recursive: true, force: true }));
  const nats = cleanup.use(await startNatsServer({ login: { user: 'mesh', password: 'hush' } }));
  writeSmallModel('llama', join(folder, 'model'));
  const passwordFile = join(folder, 'password');
  await writeFile(passwordFile, 'hush\n');
  const env = {
    PARLEY_LISTEN: '127.0.0.1:0',
    PARLEY_NATS_URL: nats.url,
    PARLEY_PEER_NAME: 'ant',
    PARLEY_MODEL: join(folder, 'model'),
    PARLEY_STATE_DIR: join(folder, 'state'),
  };
  const login = { PARLEY_NATS_USER: 'mesh', PARLEY_NATS_PASSWORD_FILE: passwordFile };
  return { cleanup, env, login, [Symbol.asyncDispose]: cleanup.close };
}

describe('nats-server with a login', () => {
  it('lets every service in that has user and password file, and they find one another', async () => {
    await using mesh = await setUp();
    const started = SERVICES.map((service) =>
      mesh.cleanup.use(launch(service, { ...mesh.env, ...mesh.login })),
    );
    const addresses = await Promise.all(
      started.map(async (service, index) => {
        let address: string | undefined;
        await until(`${SERVICES[index]} serves`, async () => {
          address = /"address":"([^"]+)"/.exec(service.stdout)?.[1];
          return address !== undefined;
        });
        return address!;
      }),
    );
    using client = createClient(CoordinatorService, addresses[1], { deadlineMs: 10_000 });
    const { peers } = await client.listPeers({});
    assert.deepEqual(
      peers.map(({ announcement, available }) => [announcement?.name, announcement?.address, available]),
      [['ant', addresses[0], true]],
    );
  });

  it('refuses a service without one, or with half of one, in a line that says what to do', async () => {
    await using mesh = await setUp();
    const { PARLEY_NATS_PASSWORD_FILE, PARLEY_NATS_USER } = mesh.login;
    await Promise.all(
      SERVICES.map(async (service) => {
        const denied = await run(service, mesh.env);
        assert.equal(denied.code, 3);
        assert.match(
          denied.stderr,
          /refused the login: .*; check user, password, token, credentials file or certificate/,
        );
        for (const half of [{ PARLEY_NATS_USER }, { PARLEY_NATS_PASSWORD_FILE }]) {
          const contradictory = await run(service, { ...mesh.env, ...half });
          assert.equal(contradictory.code, 2, contradictory.stderr);
          assert.match(
            contradictory.stderr,
            /PARLEY_NATS_USER and PARLEY_NATS_PASSWORD_FILE belong together/,
          );
        }
      }),
    );
  });
});
