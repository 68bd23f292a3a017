import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { DescMessage, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { connectBus, ensureTopology, natsBlobs, readFrom } from '@parley/bus';
import type { BlobStore, Bus, StreamName } from '@parley/bus';
import { startNatsServer } from '@parley/bus/testing';
import type { TestNatsServer } from '@parley/bus/testing';
import { CoordinatorService, RunState } from '@parley/contracts';
import type { PromptSchema, Run, RunSpecSchema } from '@parley/contracts';
import { COORDINATOR_FIELDS, startCoordinator } from '@parley/coordinator';
import { recipeToMessage } from '@parley/mesh';
import { PMI_FIELDS, startPmi } from '@parley/pmi';
import { PAPER } from '@parley/pst';
import type { Recipe, RecipeOverride } from '@parley/pst';
import {
  createCleanupStack,
  createClient,
  createRegistry,
  createSilentLog,
  readConfig,
  sleep,
} from '@parley/runtime';
import type { Client, Env, Service } from '@parley/runtime';
import { startRulePeer } from './rule-peer.js';
import type { Operator, RulePeer, RulePeerOptions } from './rule-peer.js';

/** Timing under which a lost peer is named within a second. */
const FAST: Env = {
  PARLEY_LISTEN: '127.0.0.1:0',
  PARLEY_PEER_PROBE_INTERVAL: '50ms',
  PARLEY_PEER_PROBE_DEADLINE: '300ms',
  PARLEY_PEER_LOST_AFTER: '500ms',
  PARLEY_LEASE: '1s',
};

/** A service in this process. */
export interface InProcess extends Service {
  readonly address: string;
}

/** A service in a process of its own. */
export interface Spawned {
  readonly address: string;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
}

export type CoordinatorClient = Client<typeof CoordinatorService>;

/** A mesh on one machine with a real nats-server, for tests. Disposal stops everything it started. */
export interface TestMesh extends AsyncDisposable {
  readonly nats: TestNatsServer;
  readonly bus: Bus;
  readonly blobs: BlobStore;
  /** @param options - `folder` names its state folder, as its name does unless given */
  startPeer(options: Omit<RulePeerOptions, 'natsUrl' | 'stateDir'> & { folder?: string }): Promise<RulePeer>;
  startCoordinator(env?: Env): Promise<InProcess>;
  startPmi(env?: Env): Promise<InProcess>;
  spawnCoordinator(env?: Env): Promise<Spawned>;
  client(service: { readonly address: string }): CoordinatorClient;
  /** Everything a subject holds. */
  read<S extends DescMessage>(stream: StreamName, schema: S, filter: string): Promise<MessageShape<S>[]>;
}

export async function startTestMesh(): Promise<TestMesh> {
  const cleanup = createCleanupStack();
  const folder = await mkdtemp(join(tmpdir(), 'parley-mesh-'));
  cleanup.defer(() => rm(folder, { recursive: true, force: true }));
  const nats = cleanup.use(await startNatsServer());
  const bus = cleanup.use(await connectBus({ servers: nats.url, name: 'test' }));
  await ensureTopology(bus, { leaseTtlMs: 1000 });
  const blobs = natsBlobs(bus);
  const env = (more: Env): Env => ({ ...FAST, PARLEY_NATS_URL: nats.url, ...more });
  const failures: unknown[] = [];
  const context = <C>(config: C) => ({
    config,
    log: createSilentLog(),
    registry: createRegistry(),
    signal: new AbortController().signal,
    fail: (error: unknown) => void failures.push(error),
    report: () => undefined,
  });
  const manage = (service: InProcess): InProcess => {
    cleanup.defer(() => service.close());
    return service;
  };
  cleanup.defer(() => {
    if (failures.length > 0) throw new AggregateError(failures, 'a service failed in the background');
  });
  return {
    nats,
    bus,
    blobs,
    startPeer: async ({ folder: own, ...options }) => {
      const stateDir = join(folder, own ?? options.name);
      return cleanup.use(await startRulePeer({ natsUrl: nats.url, stateDir, ...options }));
    },
    startCoordinator: async (more = {}) =>
      manage(await startCoordinator(context(readConfig(env(more), COORDINATOR_FIELDS)))),
    startPmi: async (more = {}) => manage(await startPmi(context(readConfig(env(more), PMI_FIELDS)))),
    async spawnCoordinator(more = {}) {
      const service = await spawnService('coordinator', env(more));
      cleanup.defer(() => service.kill());
      return service;
    },
    client(service) {
      const client = createClient(CoordinatorService, service.address, { deadlineMs: 20_000 });
      return cleanup.use(client);
    },
    async read(stream, schema, filter) {
      const found: MessageShape<typeof schema>[] = [];
      for await (const { message } of readFrom(bus, { stream, schema, filter, blobs })) found.push(message);
      return found;
    },
    [Symbol.asyncDispose]: () => cleanup.close(),
  };
}

async function spawnService(name: string, env: Env): Promise<Spawned> {
  const main = fileURLToPath(import.meta.resolve(`@parley/${name}`)).replace(/index\.js$/, 'main.js');
  const child = spawn(process.execPath, [main], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const address = await listeningAddress(child);
  return {
    address,
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
  };
}

async function listeningAddress(child: ChildProcess): Promise<string> {
  const lines = createInterface(child.stdout!);
  for await (const line of lines) {
    const { address } = JSON.parse(line) as { address?: string };
    if (address !== undefined) {
      child.stdout!.resume();
      return address;
    }
  }
  throw new Error('the service ended before it listened');
}

/** Peers that are good at different things. */
export const SKILLS: Record<string, Record<Operator, number>> = {
  ant: { '+': 0.9, '-': 0.5, '*': 0.3 },
  bee: { '+': 0.4, '-': 0.9, '*': 0.5 },
  cat: { '+': 0.5, '-': 0.4, '*': 0.9 },
};

/** Three peers, coordinator and pmi. */
export async function startTrio(mesh: TestMesh, options: Partial<RulePeerOptions> = {}): Promise<RulePeer[]> {
  return Promise.all(
    Object.entries(SKILLS).map(([name, skills]) => mesh.startPeer({ name, skills, ...options })),
  );
}

/** The paper's recipe in rounds of eight, with changes. */
export function testRecipe(changes: RecipeOverride = {}): Recipe {
  const base = {
    ...PAPER,
    guards: { ...PAPER.guards, entropyDrop: null, lengthDrift: null, parseableDrop: null },
    rounds: { ...PAPER.rounds, promptsPerRound: 8, microBatch: 3 },
  };
  const merged = Object.entries(changes).map(([key, value]) => {
    const before = base[key as keyof Recipe];
    return [key, typeof before === 'object' ? { ...before, ...(value as object) } : value];
  });
  return { ...base, ...(Object.fromEntries(merged) as Partial<Recipe>) };
}

/** A run of the trio. */
export function testSpec(
  recipe: Recipe = testRecipe(),
  peers: readonly string[] = Object.keys(SKILLS),
): MessageInitShape<typeof RunSpecSchema> {
  return { peers: [...peers], recipe: recipeToMessage(recipe), seed: 42n, title: 'test' };
}

/** Questions with all three operators. */
export function testPrompts(count: number, from = 0): MessageInitShape<typeof PromptSchema>[] {
  return Array.from({ length: count }, (_, i) => {
    const n = from + i;
    return {
      promptId: `q${n}`,
      question: `What is ${3 + ((n * 7) % 19)} ${'+-*'[n % 3]} ${2 + ((n * 5) % 13)}?`,
    };
  });
}

/** Waits until a run has ended. */
export async function untilEnded(
  client: CoordinatorClient,
  runId: string,
  deadlineMs = 20_000,
): Promise<Run> {
  return until(deadlineMs, `run ${runId} to end`, async () => {
    const { run } = await client.getRun({ runId });
    return run!.state === RunState.RUNNING || run!.state === RunState.PAUSED ? undefined : run!;
  });
}

/** Asks again and again until there is an answer. */
export async function until<T>(
  deadlineMs: number,
  what: string,
  ask: () => Promise<T | undefined | false>,
): Promise<T> {
  const endMs = performance.now() + deadlineMs;
  for (;;) {
    const found = await ask();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > endMs) throw new Error(`waited ${deadlineMs} ms in vain for ${what}`);
    await sleep(25);
  }
}
