import { randomUUID } from 'node:crypto';
import {
  connectBus,
  createPublisher,
  ensureTopology,
  natsBlobs,
  readLast,
  STREAMS,
  subjects,
} from '@parley/bus';
import type { BusOptions } from '@parley/bus';
import { CoordinatorService, RoundGeneratedSchema } from '@parley/contracts';
import type { Run } from '@parley/contracts';
import { extractAnswer } from '@parley/evaluation';
import {
  createCleanupStack,
  createPeerPool,
  createRunEvents,
  followPeerDirectory,
  openRuns,
} from '@parley/mesh';
import { implement, startGrpcServer } from '@parley/runtime';
import type { Service, StartContext } from '@parley/runtime';
import { parseListen } from './config.js';
import type { CoordinatorConfig } from './config.js';
import { createCoordinatorService } from './coordinator-service.js';
import { followMesh } from './mesh-feed.js';
import { createPeerProgressLog } from './peer-progress-log.js';
import { createPromptIntake } from './prompt-intake.js';
import { summarizeGenerated } from './round-summary.js';
import { withProgress } from './run-progress.js';
import { createRunStore } from './run-store.js';
import { superviseRuns } from './run-supervisor.js';

/** A coordinator at work. */
export interface Coordinator extends Service {
  /** host:port of its CoordinatorService. */
  readonly address: string;
}

/** Starts a coordinator: connects, catches up with the streams, drives the active runs, and serves. */
export async function startCoordinator(context: StartContext<CoordinatorConfig>): Promise<Coordinator> {
  const { config, log, fail } = context;
  const cleanup = createCleanupStack();
  const stopping = new AbortController();
  const wallClockMs = () => Date.now();
  const nowMs = () => performance.now();
  try {
    const bus = cleanup.use(
      await connectBus({ ...natsAuth(config), servers: config.natsUrl, name: 'coordinator', log }),
    );
    await ensureTopology(bus, { leaseTtlMs: config.leaseMs });
    const blobs = natsBlobs(bus);
    const publisher = createPublisher(bus, { source: 'parley/coordinator', blobs });
    cleanup.defer(() => stopping.abort());
    const progress = createPeerProgressLog();
    const feed = await followMesh(bus, blobs, progress, stopping.signal, fail);
    const directory = await followPeerDirectory(bus, stopping.signal, fail);
    const pool = cleanup.use(createPeerPool({ directory, timing: config, log, nowMs }));
    const store = createRunStore(await openRuns(bus));

    const runListeners = new Set<(run: Run) => void>();
    const complete = (run: Run) => withProgress({ bus, blobs, progress, pool }, run);
    const supervisor = superviseRuns({
      bus,
      blobs,
      publisher,
      events: createRunEvents(publisher, wallClockMs),
      pool,
      progress,
      tools: { extractAnswer: (text, forms) => extractAnswer(text, { forms }), nowMs, wallClockMs },
      holder: `coordinator-${randomUUID()}`,
      log,
      store,
      wallClockMs,
      seen: ({ run }) => runListeners.forEach((listener) => listener(run)),
      fail,
    });
    cleanup.defer(() => supervisor.stop());

    const service = createCoordinatorService({
      store,
      intake: createPromptIntake(bus, blobs, publisher),
      directory,
      pool,
      watching: {
        feed,
        complete,
        load: async (runId) => complete(await store.get(runId)),
        listenRuns(listener) {
          runListeners.add(listener);
          return () => void runListeners.delete(listener);
        },
        async summary(runId, round) {
          const subject = subjects.generated(runId, round);
          const found = await readLast(bus, {
            stream: STREAMS.rounds,
            schema: RoundGeneratedSchema,
            blobs,
            subject,
          });
          return found && summarizeGenerated(found.message);
        },
      },
      stopping: stopping.signal,
      wallClockMs,
    });
    const services = [implement(CoordinatorService, service)];
    const grpc = cleanup.use(await startGrpcServer({ ...parseListen(config.listen), services, log }));
    grpc.setServing(true);
    log.info({ address: grpc.address }, 'coordinator listens');
    return {
      address: grpc.address,
      stopServing: () => grpc.setServing(false),
      async drain(deadlineMs) {
        stopping.abort();
        await supervisor.stop();
        await grpc.drain(deadlineMs);
      },
      close: () => cleanup.close(),
    };
  } catch (error) {
    await cleanup.close();
    throw error;
  }
}

function natsAuth({ natsCredentialsFile: credsFile }: CoordinatorConfig): Pick<BusOptions, 'auth'> {
  return credsFile === undefined ? {} : { auth: { kind: 'creds', credsFile } };
}
