import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { create } from '@bufbuild/protobuf';
import type { DescMessage, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { createPublisher, connectBus, ensureTopology, natsBlobs, readFrom, subjects } from '@parley/bus';
import type { Bus } from '@parley/bus';
import { startNatsServer } from '@parley/bus/testing';
import { PeerService, VersionCommittedSchema, WeightedUpdateSchema } from '@parley/contracts';
import type { UpdateItemSchema, VersionCommitted, WeightedUpdate } from '@parley/contracts';
import { createCleanupStack, createClient, createSilentLog, readConfig } from '@parley/runtime';
import type { CleanupStack, Client } from '@parley/runtime';
import { startPeer } from './app.js';
import type { PeerDeps, RunningPeer } from './app.js';
import { PEER_FIELDS } from './config.js';

/** The fields of a message as a literal. */
export type Literal<S extends DescMessage> = Exclude<MessageInitShape<S>, MessageShape<S>>;

/** A tiny random model of each architecture, from the engine's fixtures. Their contexts have 96 tokens. */
export function modelFolder(name: 'llama' | 'qwen2' | 'gemma2'): string {
  return fileURLToPath(new URL(`../../../packages/lm/fixtures/models/${name}`, import.meta.url));
}

/** A folder that is gone after the test. */
export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'parley-peer-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A nats-server of the test's own, with the streams. */
export interface TestMesh {
  readonly url: string;
  readonly bus: Bus;
  /** What the test closes at its end, latest first. */
  readonly cleanup: CleanupStack;
  /** Publishes an update as pmi does. */
  publish(update: WeightedUpdate): Promise<void>;
  /** Every version that a peer has published, in order. */
  versions(peer: string): Promise<VersionCommitted[]>;
}

/** Starts a nats-server for one test. */
export async function startMesh(t: TestContext): Promise<TestMesh> {
  const cleanup = createCleanupStack();
  t.after(cleanup.close);
  const nats = cleanup.use(await startNatsServer());
  const bus = cleanup.use(await connectBus({ servers: nats.url, name: 'test' }));
  await ensureTopology(bus);
  const blobs = natsBlobs(bus);
  const publisher = createPublisher(bus, { source: 'parley/test', blobs });
  return {
    url: nats.url,
    bus,
    cleanup,
    async publish(update) {
      const { updateId, peer, runId, round } = update;
      await publisher.publishOnce(WeightedUpdateSchema, update, {
        subject: subjects.update(peer, runId, round),
        id: updateId,
      });
    },
    async versions(peer) {
      const found = [];
      const options = {
        stream: 'VERSIONS',
        schema: VersionCommittedSchema,
        blobs,
        filter: `parley.versions.${peer}.*`,
      };
      for await (const { message } of readFrom(bus, options)) found.push(message);
      return found;
    },
  };
}

/** The environment of a peer on this mesh. */
export function peerEnv(mesh: Pick<TestMesh, 'url'>, stateDir: string, env: Record<string, string> = {}) {
  return {
    PARLEY_PEER_NAME: 'ant',
    PARLEY_MODEL: modelFolder('llama'),
    PARLEY_STATE_DIR: stateDir,
    PARLEY_NATS_URL: mesh.url,
    ...env,
  };
}

/** A peer in this process, with a client of it. */
export interface TestPeer {
  readonly peer: RunningPeer;
  readonly client: Client<typeof PeerService>;
  /** Failures it reported in the background. */
  readonly failures: unknown[];
  stop(): Promise<void>;
}

/** Starts a peer on a mesh; it stops after the test, or when told to. */
export async function startTestPeer(
  mesh: TestMesh,
  stateDir: string,
  env: Record<string, string> = {},
  deps: Partial<PeerDeps> = {},
): Promise<TestPeer> {
  const failures: unknown[] = [];
  const config = readConfig(peerEnv(mesh, stateDir, env), PEER_FIELDS);
  const fail = (error: unknown) => void failures.push(error);
  const peer = await startPeer(config, { log: createSilentLog(), fail, ...deps });
  const client = createClient(PeerService, `127.0.0.1:${peer.port}`, { deadlineMs: 30_000 });
  const stop = async () => {
    client.close();
    peer.stopServing();
    await peer.drain(5000);
    await peer.close();
  };
  mesh.cleanup.defer(stop);
  return { peer, client, failures, stop };
}

/** The update of a round, for peer ant unless told otherwise: three items, two epochs, minibatches of two. */
export function updateOf(
  round: number,
  overrides: Literal<typeof WeightedUpdateSchema> = {},
): WeightedUpdate {
  const peer = overrides.peer ?? 'ant';
  return create(WeightedUpdateSchema, {
    updateId: `run/${round}/${peer}`,
    runId: 'run',
    round: BigInt(round),
    peer,
    items: [
      itemOf(1),
      itemOf(2, { weight: 0.5, anchorWeight: 0.25 }),
      itemOf(3, { weight: 0, anchorWeight: 1 }),
    ],
    training: {
      learningRate: 1e-2,
      schedule: 'linear',
      finalLearningRateRatio: 0.1,
      epochs: 2,
      minibatchSize: 2,
      maxGradNorm: 1,
      weightDecay: 0.01,
      beta1: 0.9,
      beta2: 0.98,
      epsilon: 1e-8,
      anchorReference: 'previous',
    },
    seed: BigInt(1000 + round),
    ...overrides,
  });
}

/** One item of an update. */
export function itemOf(index: number, overrides: Literal<typeof UpdateItemSchema> = {}) {
  return {
    promptId: `p${index}`,
    question: `what is ${index} and ${index}?`,
    target: `it is ${2 * index}`,
    weight: 1,
    ...overrides,
  };
}

/** Waits until a condition holds. @throws Error after `deadlineMs` */
export async function until(
  what: string,
  condition: () => Promise<boolean>,
  deadlineMs = 40_000,
): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
