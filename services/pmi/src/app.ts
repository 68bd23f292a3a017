import { PmiService } from '@parley/contracts';
import { findAnswer } from '@parley/evaluation';
import type { AnswerForm } from '@parley/evaluation';
import { joinMesh } from '@parley/mesh';
import { createCleanupStack, implement, startGrpcServer } from '@parley/runtime';
import type { Service, StartContext } from '@parley/runtime';
import type { PmiConfig } from './config.js';
import { createPmiService } from './pmi-service.js';
import { consumeRounds } from './round-consumer.js';

/** A scorer at work. */
export interface Pmi extends Service {
  /** host:port of its PmiService. */
  readonly address: string;
}

/** Starts a scorer: connects, consumes generated rounds, and serves. */
export async function startPmi({ config, log, fail }: StartContext<PmiConfig>): Promise<Pmi> {
  const cleanup = createCleanupStack();
  const wallClockMs = () => Date.now();
  const nowMs = () => performance.now();
  try {
    const mesh = await joinMesh({ service: 'pmi', config, log, fail, nowMs, wallClockMs }, cleanup);
    const { bus, blobs, publisher, directory, pool, events, runs } = mesh;
    const tools = {
      peer: (name: string) => pool.peer(name),
      findAnswer: (text: string, forms: readonly AnswerForm[]) => findAnswer(text, { forms }),
      nowMs,
      wallClockMs,
    };
    const parts = { bus, blobs, publisher, events, runs, tools, log };
    const consumption = cleanup.use(await consumeRounds(parts, config.concurrency));
    consumption.done.catch(fail);
    const services = [implement(PmiService, createPmiService({ directory, tools }))];
    const grpc = cleanup.use(await startGrpcServer({ ...config.listen, services, log }));
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
