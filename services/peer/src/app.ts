import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  anyBlobs,
  busOptions,
  connectBus,
  createPublisher,
  fileBlobs,
  natsBlobs,
  peerBlobStore,
  prepareTopology,
} from '@parley/bus';
import type { BlobStore, Bus, Publisher } from '@parley/bus';
import { PeerService } from '@parley/contracts';
import {
  createPromptTemplate,
  describeTrainable,
  loadLanguageModel,
  loadPeftAdapter,
  loadTokenizer,
  readModelConfig,
  readTokenizerFiles,
} from '@parley/lm';
import type { LanguageModel, ModelConfig, Trainable } from '@parley/lm';
import { checkpointDigest, logObserver, obtainModel, parseModelUri } from '@parley/models';
import {
  ParleyError,
  allowRoles,
  createCleanupStack,
  implement,
  observeExpiry,
  openTls,
  startGrpcServer,
} from '@parley/runtime';
import type { CleanupStack, Log, Registry, Service } from '@parley/runtime';
import { announce } from './announce.js';
import { updateChange } from './apply-update.js';
import { advertisedAddress } from './config.js';
import type { PeerConfig } from './config.js';
import { mappingLmErrors } from './lm-failure.js';
import { memory } from './memory.js';
import { createPeerMetrics, observeModel } from './peer-metrics.js';
import { PEER_POLICY, createPeerService } from './peer-service.js';
import type { ApplyUpdate } from './peer-service.js';
import { createSnapshots } from './snapshot.js';
import { openStateStore } from './state-store.js';
import type { StateStore } from './state-store.js';
import { createTextCodec } from './text-codec.js';
import type { TextCodec } from './text-codec.js';
import { consumeUpdates } from './update-consumer.js';
import { createVersionLog } from './version-log.js';
import type { VersionLog } from './version-log.js';
import { createVersionedModel } from './versioned-model.js';
import { createWeightsStore } from './weights-store.js';
import type { WeightsStore } from './weights-store.js';

/** What a peer is given from outside. */
export interface PeerDeps {
  log: Log;
  /** Told of a failure in the background after which the peer cannot go on; its owner then closes it. */
  fail: (error: unknown) => void;
  /** Gives up a start that is under way. */
  signal?: AbortSignal;
  /** Told in a few words what a start that takes long is at. */
  report?: (doing: string) => void;
  /** Where it is measured; nowhere unless given. */
  registry?: Registry;
  /** Monotonic, in milliseconds; `performance.now` unless given. */
  nowMs?: () => number;
  /** Wall clock; `new Date` unless given. */
  date?: () => Date;
  /** Replaces where versions are published, given the one on the bus. */
  wrapVersions?: (inner: VersionLog) => VersionLog;
  /** Replaces where weights are stored, given the configured one. */
  wrapWeights?: (inner: WeightsStore) => WeightsStore;
}

/** A peer that serves. */
export interface RunningPeer extends Service, AsyncDisposable {
  /** `host:port` that it announced. */
  readonly address: string;
  /** Port that it listens on. */
  readonly port: number;
}

/**
 * Starts a peer: loads the model, brings it to the committed state, serves gRPC, announces itself and applies its updates.
 *
 * @throws ParleyError as `obtainModel` for a model that cannot be fetched; CHECKPOINT_INVALID, TENSOR_INVALID, ARCHITECTURE_UNKNOWN, TOKENIZER_MISMATCH for a model that cannot
 *   be used; STATE_CORRUPT, CONFIG_INVALID for a state folder that cannot; NATS_*, STREAM_*, BUS_UNAVAILABLE; PORT_IN_USE,
 *   ADDRESS_UNUSABLE
 */
export async function startPeer(config: PeerConfig, deps: PeerDeps): Promise<RunningPeer> {
  const cleanup = createCleanupStack();
  try {
    return await start(config, deps, cleanup);
  } catch (error) {
    await cleanup.close();
    throw error;
  }
}

async function start(config: PeerConfig, deps: PeerDeps, cleanup: CleanupStack): Promise<RunningPeer> {
  const { log, fail, signal, registry, nowMs = () => performance.now(), date = () => new Date() } = deps;
  const startTime = date();
  const identity = { role: 'peer', name: config.name } as const;
  const metrics = createPeerMetrics(registry);
  const tls = openTls(config, { log });
  if (tls && registry) observeExpiry(tls, registry, log);
  const bus = cleanup.use(
    await connectBus(busOptions(config, identity, { log, ...(registry && { registry }) })),
  );
  await prepareTopology(bus, identity, config, { ...(signal && { signal }) });
  const blobs = openBlobs(config, bus);
  const publisher = createPublisher(bus, { source: `parley/peer/${config.name}`, blobs });
  const { versions, weights } = openOutputs(config, deps, { bus, publisher, blobs });

  const folder = await fetchModel(config, deps);
  const { engine, codec, trainable } = await mappingLmErrors(() => openModel(config, folder, log));
  cleanup.use(engine);
  signal?.throwIfAborted();
  const store = await openState(config, folder, engine, trainable);
  refuseOlderState(config, store, await versions.last());
  const model = createVersionedModel({
    model: engine,
    store,
    weights,
    versions,
    metrics,
    log,
    nowMs,
    date,
    onLost: fail,
  });
  observeModel(model, metrics, log);
  const context = { peer: config.name, codec, contextTokens: engine.info.contextTokens, nowMs };
  const applyUpdate: ApplyUpdate = (update, stop) =>
    model.advance(updateChange(update, { ...context, signal: stop }), stop);
  const snapshots = createSnapshots(join(config.stateDir, 'snapshots.jsonl'), store, weights);
  const service = createPeerService({ model, codec, store, weights, snapshots, applyUpdate, metrics, date });
  const security = tls && {
    credentials: tls.server('required'),
    authorize: allowRoles(PeerService, PEER_POLICY),
  };
  const services = [implement(PeerService, service)];
  const measured = registry && { registry };
  const server = cleanup.use(
    await startGrpcServer({ ...config.listen, services, log, ...measured, ...security }),
  );
  const address = advertisedAddress(config, server.port);
  await model.publishPending();
  await announce(bus, config.name, address, startTime);
  const updates = { peer: config.name, bus, blobs, publisher, applyUpdate, metrics, log };
  const consumption = cleanup.use(await consumeUpdates(updates));
  consumption.done.catch(fail);
  server.setServing(true);
  log.info({ address, version: store.head.version, ...engine.info }, 'serving');
  return {
    address,
    port: server.port,
    stopServing: () => server.setServing(false),
    async drain(deadlineMs) {
      const endMs = nowMs() + deadlineMs;
      await consumption.drain(deadlineMs);
      await server.drain(Math.max(0, endMs - nowMs()));
      await model.close();
    },
    close: cleanup.close,
    [Symbol.asyncDispose]: cleanup.close,
  };
}

function openBlobs({ name, blobs }: PeerConfig, bus: Bus): BlobStore {
  const onBus = natsBlobs(bus, { store: peerBlobStore(name) });
  return blobs === 'nats' ? onBus : anyBlobs(fileBlobs(fileURLToPath(blobs)), onBus);
}

function openOutputs(
  { name }: PeerConfig,
  { wrapVersions, wrapWeights }: PeerDeps,
  { bus, publisher, blobs }: { bus: Bus; publisher: Publisher; blobs: BlobStore },
): { versions: VersionLog; weights: WeightsStore } {
  const versions = createVersionLog(name, bus, publisher, blobs);
  const weights = createWeightsStore(name, blobs);
  return { versions: wrapVersions?.(versions) ?? versions, weights: wrapWeights?.(weights) ?? weights };
}

interface OpenedModel {
  readonly engine: LanguageModel;
  readonly codec: TextCodec;
  readonly trainable: Trainable;
}

/** Where the model lies on this machine, fetched first if it has to be. */
async function fetchModel(config: PeerConfig, { log, report, signal }: PeerDeps): Promise<string> {
  const observer = logObserver(log, report);
  const { folder, commit } = await obtainModel(parseModelUri(config.model), config, {
    observer,
    ...(signal && { signal }),
  });
  log.info({ model: config.model, folder, commit }, 'the model is here');
  report?.('loading the model');
  return folder;
}

async function openModel(config: PeerConfig, folder: string, log: Log): Promise<OpenedModel> {
  const { device, threads, spinning, quantization, recompute, maxBatch, maxBatchTokens } = config;
  const modelConfig = readModelConfig(folder);
  const tokenizer = loadTokenizer(folder, modelConfig);
  const template = createPromptTemplate(readTokenizerFiles(folder).tokenizerConfig, { label: folder });
  const codec = createTextCodec(tokenizer, template);
  if (codec.endToken === undefined)
    log.warn({ folder }, 'the model has no end token: its answers end at max_tokens alone');
  const { trainable, initial } = readTrainSetting(config, modelConfig, log);
  const onProgress = (fraction: number) => log.debug({ folder, fraction }, 'loading');
  const engine = await loadLanguageModel({
    folder,
    device,
    threads,
    spinning,
    trainable,
    quantization,
    recompute: recompute === 'auto' ? 'auto' : recompute === 'always',
    maxBatch,
    memoryBytes: Number(memory().memoryLimitBytes),
    ...(maxBatchTokens !== undefined && { maxBatchTokens }),
    onProgress,
  });
  if (initial) await engine.importState({ weights: initial });
  return { engine, codec, trainable };
}

/** What trains, and the weights it starts with where an adapter was given. */
function readTrainSetting(
  { train }: PeerConfig,
  model: ModelConfig,
  log: Log,
): { trainable: Trainable; initial?: Uint8Array } {
  if (train.kind !== 'adapter') return { trainable: train };
  const { trainable, weights, ignored } = loadPeftAdapter(train.folder, model);
  const { folder } = train;
  if (ignored.length > 0)
    log.warn({ folder, ignored }, 'training goes on without these settings of the adapter');
  return { trainable, initial: weights };
}

/** Opens the state folder and brings the model to what is committed there. */
async function openState(
  config: PeerConfig,
  folder: string,
  engine: LanguageModel,
  trainable: Trainable,
): Promise<StateStore> {
  const baseSha256 = await checkpointDigest(folder);
  const store = await openStateStore({
    folder: config.stateDir,
    identity: { peer: config.name, baseSha256, method: describeTrainable(trainable) },
    keepVersions: config.keepVersions,
    initialState: () => engine.exportState(),
  });
  const state = await store.reload();
  await mappingLmErrors(() => engine.importState(state));
  return store;
}

/** Going on from an older state would give out version numbers that are taken, for other weights. */
function refuseOlderState(
  { name, stateDir }: PeerConfig,
  { head }: StateStore,
  last: { version: bigint } | undefined,
): void {
  if (last === undefined || last.version <= BigInt(head.version)) return;
  throw new ParleyError(
    'STATE_CORRUPT',
    `Peer ${name} has published version ${last.version}, but its state folder ${stateDir} is at version ${head.version}. Put ` +
      `the latest state back, or give the peer another name to start anew`,
    { details: { peer: name, published: String(last.version), committed: String(head.version) } },
  );
}
