import { create } from '@bufbuild/protobuf';
import { StringValueSchema } from '@bufbuild/protobuf/wkt';
import { setTimeout as wait } from 'node:timers/promises';
import { natsBlobs } from './blobs.js';
import type { BlobStore } from './blobs.js';
import { connectBus } from './connect.js';
import type { Bus, BusOptions } from './connect.js';
import type { ConsumeOptions } from './consume.js';
import { createPublisher } from './publish.js';
import type { Publisher, PublisherOptions } from './publish.js';
import { STREAMS, filters } from './subjects.js';
import { startNatsServer } from './testing.js';
import type { TestNatsServer, TestNatsServerOptions } from './testing.js';
import { ensureTopology } from './topology.js';
import type { TopologyOptions } from './topology.js';

/** A server with the topology and a connection, for the tests of this package. */
export interface Setup extends AsyncDisposable {
  server: TestNatsServer;
  bus: Bus;
  blobs: BlobStore;
  publisher: Publisher;
  connect(options?: Partial<BusOptions>): Promise<Bus>;
}

/** What a test varies. */
export interface SetupOptions {
  server?: TestNatsServerOptions;
  topology?: TopologyOptions;
  publisher?: Partial<PublisherOptions>;
}

/** Starts it all; disposal ends it all. */
export async function setup(options: SetupOptions = {}): Promise<Setup> {
  const server = await startNatsServer(options.server);
  const connections: Bus[] = [];
  const open = async (more: Partial<BusOptions> = {}) => {
    const bus = await connectBus({ servers: server.url, name: 'test', requestTimeoutMs: 1000, ...more });
    connections.push(bus);
    return bus;
  };
  const bus = await open();
  await ensureTopology(bus, options.topology);
  const blobs = natsBlobs(bus);
  const publisher = createPublisher(bus, { source: 'parley/test', blobs, ...options.publisher });
  return {
    server,
    bus,
    blobs,
    publisher,
    connect: open,
    async [Symbol.asyncDispose]() {
      for (const connection of connections) await connection.close(200);
      await server[Symbol.asyncDispose]();
    },
  };
}

/** A message of the tests. */
export function text(value: string) {
  return create(StringValueSchema, { value });
}

/** Options of a consumer of generated rounds whose poison ends the test. */
export function roundConsumer(blobs: BlobStore): ConsumeOptions<typeof StringValueSchema> {
  return {
    stream: STREAMS.rounds,
    durable: 'test',
    filter: filters.generated(),
    maxAckPending: 1,
    schema: StringValueSchema,
    blobs,
    ackWaitMs: 1000,
    backoff: { baseMs: 20, maxMs: 100 },
    onPoison: async ({ error }) => Promise.reject(error),
  };
}

/** Waits until `condition` holds. @throws after 15 s, naming what was waited for */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited 15 s for ${what}`);
    await wait(10);
  }
}
