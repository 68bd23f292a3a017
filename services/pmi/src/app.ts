import { connectBus, createPublisher, ensureTopology, natsBlobs } from '@parley/bus';
import type { BusOptions } from '@parley/bus';
import { PmiService } from '@parley/contracts';
import { findAnswer } from '@parley/evaluation';
import type { AnswerForm } from '@parley/evaluation';
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
  const stopping = new AbortController();
  const wallClockMs = () => Date.now();
  const nowMs = () => performance.now();
  try {
    const bus = cleanup.use(
      await connectBus({ ...natsAuth(config), servers: config.natsUrl, name: 'pmi', log }),
    );
    await ensureTopology(bus);
    const blobs = natsBlobs(bus);
    const publisher = createPublisher(bus, { source: 'parley/pmi', blobs });
    cleanup.defer(() => stopping.abort());
    const directory = await followPeerDirectory(bus, stopping.signal, fail);
    const pool = cleanup.use(createPeerPool({ directory, timing: config, log, nowMs }));
    const tools = {
      peer: (name: string) => pool.peer(name),
      findAnswer: (text: string, forms: readonly AnswerForm[]) => findAnswer(text, { forms }),
      nowMs,
      wallClockMs,
    };
    const events = createRunEvents(publisher, wallClockMs);
    const runs = await openRuns(bus);
    const parts = { bus, blobs, publisher, events, runs, tools, log };
    const consumption = cleanup.use(await consumeRounds(parts, config.concurrency));
    consumption.done.catch(fail);
    const services = [implement(PmiService, createPmiService({ directory, tools }))];
    const grpc = cleanup.use(await startGrpcServer({ ...parseListen(config.listen), services, log }));
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

function natsAuth({ natsCredentialsFile: credsFile }: PmiConfig): Pick<BusOptions, 'auth'> {
  return credsFile === undefined ? {} : { auth: { kind: 'creds', credsFile } };
}
