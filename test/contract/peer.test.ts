import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startNatsServer } from '@parley/bus/testing';
import { createCleanupStack } from '@parley/runtime';
import { freePort } from '../support/free-port.js';
import { launch } from '../support/launch.js';
import { startRulePeer } from '../support/rule-peer.js';
import { writeSmallModel } from '../support/small-models.js';
import { until } from '../support/until.js';
import { connectByReflection } from '../support/wire-client.js';
import { peerConformance } from './peer-conformance.js';
import type { PeerUnderTest } from './peer-conformance.js';

/** nats-server and a folder of the peer's own; `start` starts the peer and returns its port. */
async function alone(
  start: (surroundings: { natsUrl: string; stateDir: string }) => Promise<{ port: number } & AsyncDisposable>,
): Promise<PeerUnderTest> {
  const cleanup = createCleanupStack();
  const stateDir = await mkdtemp(join(tmpdir(), 'parley-conformance-'));
  cleanup.defer(() => rm(stateDir, { recursive: true, force: true }));
  const nats = cleanup.use(await startNatsServer());
  const { port } = cleanup.use(await start({ natsUrl: nats.url, stateDir }));
  return { address: `127.0.0.1:${port}`, [Symbol.asyncDispose]: () => cleanup.close() };
}

for (const model of ['llama', 'gemma2']) {
  peerConformance(
    `the peer service with a ${model} model`,
    () =>
      alone(async ({ natsUrl, stateDir }) => {
        const port = await freePort();
        const folder = join(stateDir, 'model');
        writeSmallModel(model, folder);
        const program = launch('peer', {
          PARLEY_PEER_NAME: 'ant',
          PARLEY_MODEL: folder,
          PARLEY_STATE_DIR: join(stateDir, 'state'),
          PARLEY_NATS_URL: natsUrl,
          PARLEY_LISTEN: `127.0.0.1:${port}`,
        });
        await until('it serves', () => serves(`127.0.0.1:${port}`));
        return { port, [Symbol.asyncDispose]: () => program[Symbol.asyncDispose]() };
      }),
    { snapshots: true, interruptible: true, logProbs: true, overlong: 'how many '.repeat(100) },
  );
}

peerConformance(
  'a peer by rules',
  () =>
    alone((options) =>
      startRulePeer({ ...options, name: 'rules', skills: { '+': 0.5, '-': 0.5, '*': 0.5 } }),
    ),
  { snapshots: false, interruptible: false, logProbs: false },
);

async function serves(address: string): Promise<boolean> {
  try {
    using wire = await connectByReflection(address, 'parley.v1.PeerService');
    return (await wire.health()) === 1;
  } catch {
    return false; // Nothing listens yet.
  }
}
