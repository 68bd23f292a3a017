import { PmiService } from '@parley/contracts';
import { findAnswer } from '@parley/evaluation';
import type { AnswerForm } from '@parley/evaluation';
import { joinMesh } from '@parley/mesh';
import { allowRoles, createCleanupStack, implement, startGrpcServer } from '@parley/runtime';
import type { Service, StartContext } from '@parley/runtime';
import type { PmiConfig } from './config.js';
import { createPmiMetrics } from './pmi-metrics.js';
import { PMI_POLICY, createPmiService } from './pmi-service.js';
import { consumeRounds } from './round-consumer.js';

/** A scorer at work. */
export interface Pmi extends Service {
  /** host:port of its PmiService. */
  readonly address: string;
}

/** Starts a scorer: connects, consumes generated rounds, and serves. */
export async function startPmi(context: StartContext<PmiConfig>): Promise<Pmi> {
  const { config, log, registry, signal, fail } = context;
  const cleanup = createCleanupStack();
  const wallClockMs = () => Date.now();
  const nowMs = () => performance.now();
  try {
    const mesh = await joinMesh(
      { service: 'pmi', config, log, registry, signal, fail, nowMs, wallClockMs },
      cleanup,
    );
    const { bus, blobs, publisher, tls, directory, pool, events, runs } = mesh;
    const tools = {
      peer: (name: string) => pool.peer(name),
      findAnswer: (text: string, forms: readonly AnswerForm[]) => findAnswer(text, { forms }),
      nowMs,
      wallClockMs,
    };
    const metrics = createPmiMetrics(registry);
    const parts = { bus, blobs, publisher, events, runs, tools, metrics, log };
    const consumption = cleanup.use(await consumeRounds(parts, config.concurrency));
    consumption.done.catch(fail);
    const services = [implement(PmiService, createPmiService({ directory, tools }))];
    const security = tls && {
      credentials: tls.server('required'),
      authorize: allowRoles(PmiService, PMI_POLICY),
    };
    const grpc = cleanup.use(
      await startGrpcServer({ ...config.listen, ...security, services, log, registry }),
    );
    grpc.setServing(true);
    log.info({ address: grpc.address }, 'pmi listens');
    return {
      address: grpc.address,
      stopServing: () => grpc.setServing(false),
      async drain(deadlineMs) {
        await consumption.drain(deadlineMs);
        await grpc.drain(deadlineMs);
      },
      close: () => cleanup.close(),
    };
  } catch (error) {
    await cleanup.close();
    throw error;
  }
}
