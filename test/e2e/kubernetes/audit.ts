import { ok } from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectBus, natsBlobs } from '@parley/bus';
import { CoordinatorService } from '@parley/contracts';
import {
  createCleanupStack,
  createClient,
  createSilentLog,
  isParleyError,
  openTls,
  withDeadline,
} from '@parley/runtime';
import { readOutcome, requireComplete } from '../../support/outcome.js';
import { PEERS } from './release.js';
import type { Release } from './release.js';

/** A forwarded port can break without a word, and what reads through it then waits for it to come back. */
const ATTEMPTS = 3;
const ATTEMPT_MS = 60_000;

/**
 * Requires that every round of a run is in the streams once, that every peer committed its update once, and that its ledger
 * holds as many as it published.
 */
export async function auditRun(release: Release, runId: string, rounds: number): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await withDeadline({ deadlineMs: ATTEMPT_MS, what: `reading run ${runId}` }, (signal) =>
        auditOnce(release, runId, rounds, signal),
      );
      return;
    } catch (error) {
      if (!isParleyError(error, 'DEADLINE_EXCEEDED') || attempt === ATTEMPTS) throw error;
      console.error(`${error.message}; forwarding the ports anew`);
    }
  }
}

async function auditOnce(
  release: Release,
  runId: string,
  rounds: number,
  signal: AbortSignal,
): Promise<void> {
  const { tools, namespace, name } = release;
  const cleanup = createCleanupStack();
  signal.addEventListener('abort', () => void cleanup.close(), { once: true });
  try {
    const folder = await mkdtemp(join(tmpdir(), 'parley-e2e-'));
    cleanup.defer(() => rm(folder, { recursive: true, force: true }));
    const path = async (key: string) => {
      const file = join(folder, key);
      await writeFile(file, await release.secret(`${name}-parley-operator-tls`, key));
      return file;
    };
    const [caFile, certFile, keyFile] = [await path('ca.crt'), await path('tls.crt'), await path('tls.key')];
    const nats = cleanup.use(await tools.forward(namespace, `service/${name}-parley-nats`, 4222));
    const bus = cleanup.use(
      await connectBus({
        servers: `nats://localhost:${nats.port}`,
        name: 'e2e',
        identity: { role: 'operator' },
        makesTopology: false,
        tls: { caFile, certFile, keyFile },
      }),
    );
    const api = cleanup.use(await tools.forward(namespace, `service/${name}-parley-coordinator`, 7400));
    const tls = openTls({ tlsCa: caFile, tlsCert: certFile, tlsKey: keyFile }, { log: createSilentLog() });
    const coordinator = cleanup.use(
      createClient(CoordinatorService, `localhost:${api.port}`, {
        deadlineMs: 30_000,
        credentials: tls?.client(),
      }),
    );
    const { peers } = await coordinator.listPeers({});
    const outcome = await readOutcome(
      {
        bus,
        blobs: natsBlobs(bus),
        peers: PEERS,
        peer: (peer) => ({
          async describe() {
            const found = peers.find(({ announcement }) => announcement?.name === peer)?.description;
            ok(found, `${peer} does not answer`);
            return found;
          },
        }),
      },
      runId,
    );
    requireComplete(outcome, runId, rounds);
  } finally {
    await cleanup.close();
  }
}
