import { randomUUID } from 'node:crypto';
import { readLast, STREAMS, subjects } from '@parley/bus';
import { CoordinatorService, RoundGeneratedSchema } from '@parley/contracts';
import type { Run } from '@parley/contracts';
import { extractAnswer } from '@parley/evaluation';
import { joinMesh } from '@parley/mesh';
import { createCleanupStack, implement, startGrpcServer } from '@parley/runtime';
import type { Service, StartContext } from '@parley/runtime';
import { openGate } from './access/open-gate.js';
import type { CoordinatorConfig } from './config.js';
import { createCoordinatorMetrics } from './coordinator-metrics.js';
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
  const { config, log, registry, signal, fail } = context;
  const cleanup = createCleanupStack();
  const wallClockMs = () => Date.now();
  const nowMs = () => performance.now();
  try {
    const topology = { leaseTtlMs: config.leaseMs };
    const mesh = await joinMesh(
      { service: 'coordinator', config, topology, log, registry, signal, fail, nowMs, wallClockMs },
      cleanup,
    );
    const { bus, blobs, publisher, tls, directory, pool, events, stopping } = mesh;
    const metrics = createCoordinatorMetrics({ registry, directory, pool, log });
    const authorize = openGate(config, { tls, log, onDenied: metrics.denied });
    const progress = createPeerProgressLog();
    const feed = await followMesh({ bus, blobs, progress, log, signal: stopping.signal, fail });
    const store = createRunStore(mesh.runs);

    const runListeners = new Set<(run: Run) => void>();
    const complete = (run: Run) => withProgress({ bus, blobs, progress, pool }, run);
    const supervisor = superviseRuns({
      bus,
      blobs,
      publisher,
      events,
      pool,
      progress,
      tools: { extractAnswer: (text, forms) => extractAnswer(text, { forms }), nowMs, wallClockMs },
      holder: `coordinator-${randomUUID()}`,
      metrics,
      log,
      store,
      wallClockMs,
      seen({ run }) {
        metrics.run(run);
        runListeners.forEach((listener) => listener(run));
      },
      fail,
    });
    cleanup.defer(() => supervisor.stop());

    const service = createCoordinatorService({
      store,
      intake: createPromptIntake(bus, blobs, publisher),
      directory,
      pool,
      events,
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
    const credentials = tls?.server('optional');
    const security = { authorize, ...(credentials && { credentials }) };
    const grpc = cleanup.use(
      await startGrpcServer({ ...config.listen, ...security, services, log, registry, beginTraces: true }),
    );
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
