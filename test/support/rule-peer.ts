import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { create } from '@bufbuild/protobuf';
import { timestampNow } from '@bufbuild/protobuf/wkt';
import {
  BUCKETS,
  CONSUMERS,
  connectBus,
  consume,
  createPublisher,
  ensureTopology,
  natsBlobs,
  openKv,
  subjects,
} from '@parley/bus';
import {
  FinishReason,
  PeerAnnouncementSchema,
  PeerService,
  UpdateRejectedSchema,
  VersionCommittedSchema,
  WeightedUpdateSchema,
} from '@parley/contracts';
import type {
  Contribution,
  GenerateItem,
  Sampling,
  ScoreItem,
  VersionCommitted,
  WeightedUpdate,
} from '@parley/contracts';
import {
  ParleyError,
  createSilentLog,
  implement,
  sha256,
  sleep,
  startGrpcServer,
  writeFileAtomic,
} from '@parley/runtime';
import type { Log, ServiceImpl } from '@parley/runtime';

/** A sign that a rule peer can work with. */
export type Operator = '+' | '-' | '*';

/** How a rule peer behaves. */
export interface RulePeerOptions {
  name: string;
  natsUrl: string;
  /** Folder of its state; a peer that is started again with it goes on from there. */
  stateDir: string;
  /** Share of the questions with each operator that it gets right alone, in [0, 1]. */
  skills: Record<Operator, number>;
  /** What one answer costs, in milliseconds; a score costs a tenth. 0 unless given. */
  latencyMs?: number;
  /** Questions that it refuses as too long. */
  refuses?: (question: string) => boolean;
  /** Mean entropy of its answers, where a test wants another than its skills give. */
  entropy?: (version: number) => number;
  /** What it says whatever its skills, where a test wants to hear something of its own. */
  says?: (question: string, version: number) => string | undefined;
  /** Skills that an update is to make, in place of those that it teaches. */
  learns?: (skills: Record<Operator, number>, version: number) => Record<Operator, number>;
  /** Restores weights that it is shown, and no version by its number. */
  keepsOnlyLast?: boolean;
  /** What every Score call fails with, while this returns an error. */
  failScore?: () => ParleyError | undefined;
  /** It takes calls and answers none, while this says so. */
  hangs?: () => boolean;
  port?: number;
  log?: Log;
}

/** A running rule peer. */
export interface RulePeer extends AsyncDisposable {
  readonly name: string;
  readonly port: number;
  readonly version: number;
  /** Digest of the weights at the present version. */
  readonly weightsSha256: string;
  /** Ids of the updates in its ledger, in the order in which they were applied. */
  readonly applied: readonly string[];
  /** Generate requests that it was asked, as `<request id>`. */
  readonly asked: readonly string[];
  /** Stops like a killed process: connections break, nothing is said. Its state folder stays. */
  kill(): Promise<void>;
}

interface LedgerEntry {
  updateId: string;
  version: number;
}

interface State {
  /** Skills by version; the last is served. */
  versions: Record<Operator, number>[];
  ledger: LedgerEntry[];
  restores: { requestId: string; version: number }[];
}

const OPERATORS: readonly Operator[] = ['+', '-', '*'];

/**
 * A peer without a neural network: it does sums, right or wrong by rule, judges answers by formula, and learns by
 * growing its skill at the operators it is trained on. It implements the contract from the proto files alone (gRPC
 * service, consumer of its updates, committed versions, announcement), as anybody's peer would.
 */
export async function startRulePeer(options: RulePeerOptions): Promise<RulePeer> {
  const { name, stateDir, latencyMs = 0, log = createSilentLog() } = options;
  const stateFile = join(stateDir, 'state.json');
  await mkdir(stateDir, { recursive: true });
  const state = await loadState(stateFile, options.skills);
  const asked: string[] = [];
  const engine = createMutex();
  const weightsAt = (version: number) => safetensors(state.versions[version]);
  const current = () => state.versions.length - 1;

  const bus = await connectBus({ servers: options.natsUrl, name: `rule-peer-${name}`, log });
  await ensureTopology(bus);
  const blobs = natsBlobs(bus);
  const publisher = createPublisher(bus, { source: `rule-peer/${name}`, blobs });

  const requireVersion = (wanted: bigint | undefined): number => {
    const version = current();
    if (wanted === undefined || wanted === BigInt(version)) return version;
    throw new ParleyError('VERSION_MISMATCH', `${name} serves version ${version}, not ${wanted}`);
  };

  /** Weights, optimiser state (there is none) and ledger become durable in one file, then the version is published. */
  const commit = async (skills: Record<Operator, number>): Promise<number> => {
    state.versions.push(skills);
    const version = current();
    await writeFileAtomic(join(stateDir, `v${version}.safetensors`), weightsAt(version));
    await writeFileAtomic(stateFile, JSON.stringify(state));
    return version;
  };
  const announce = async (
    version: number,
    cause: VersionCommitted['cause'],
    items: number,
  ): Promise<VersionCommitted> => {
    const weights = weightsAt(version);
    const committed = create(VersionCommittedSchema, {
      peer: name,
      version: BigInt(version),
      parentVersion: BigInt(version - 1),
      cause,
      weights: {
        uri: pathToFileURL(join(stateDir, `v${version}.safetensors`)).href,
        sha256: sha256(weights),
        sizeBytes: BigInt(weights.length),
      },
      updatesApplied: BigInt(state.ledger.filter((entry) => entry.version <= version).length),
      report: { steps: items, items },
      commitTime: timestampNow(),
    });
    const subject = subjects.version(name, version);
    await publisher.publishOnce(VersionCommittedSchema, committed, { subject, id: `${name}/${version}` });
    return committed;
  };
  const applyUpdate = (update: WeightedUpdate) =>
    engine(async () => {
      const { updateId, runId, round, items } = update;
      const known = state.ledger.find((entry) => entry.updateId === updateId);
      let version = known?.version;
      if (version === undefined) {
        checkWeights(update);
        state.ledger.push({ updateId, version: current() + 1 });
        const learned = train(state.versions[current()], state.versions[0], update);
        version = await commit(options.learns?.(learned, current() + 1) ?? learned);
      }
      const cause = {
        case: 'update' as const,
        value: { $typeName: 'parley.v1.AppliedUpdate' as const, updateId, runId, round },
      };
      return { committed: await announce(version, cause, items.length), alreadyApplied: known !== undefined };
    });

  const describe = () => ({
    name,
    architecture: 'Rules',
    parameters: 3n,
    trainableParameters: 3n,
    trainingMethod: 'full',
    contextTokens: 4096,
    vocabularySize: 64,
    device: 'cpu',
    version: BigInt(current()),
    weightsSha256: sha256(weightsAt(current())),
    baseSha256: sha256(weightsAt(0)),
    updatesApplied: BigInt(state.ledger.length),
    activity: 'idle',
    utilization: 0,
  });
  const unhung = async (signal: AbortSignal) => {
    while (options.hangs?.()) await sleep(20, signal);
  };
  const service: ServiceImpl<typeof PeerService> = {
    describe: async (_request, { signal }) => {
      await unhung(signal);
      return describe();
    },
    async *generate({ requestId, items, sampling, version: wanted }, { signal }) {
      asked.push(requestId);
      await unhung(signal);
      const release = await engine.lock();
      try {
        const version = requireVersion(wanted);
        for (const item of items) {
          if (latencyMs > 0) await sleep(latencyMs, signal);
          const common = { itemId: item.itemId, version: BigInt(version) };
          if (options.refuses?.(item.question)) {
            const message = `Item ${item.itemId} is longer than the context`;
            yield { ...common, outcome: { case: 'failure', value: { reason: 'PROMPT_TOO_LONG', message } } };
            continue;
          }
          const value = answer(options, state.versions[version], version, item, sampling!);
          if (options.entropy) value.meanEntropy = options.entropy(version);
          yield { ...common, outcome: { case: 'completion', value } };
        }
      } finally {
        release();
      }
    },
    score: async ({ items, version: wanted, reference }, { signal }) => {
      const failure = options.failScore?.();
      if (failure) throw failure;
      const release = await engine.lock();
      try {
        const version = reference ? 0 : requireVersion(wanted);
        if (latencyMs > 0) await sleep((items.length * latencyMs) / 10, signal);
        const results = items.map((item) => ({
          itemId: item.itemId,
          outcome: { case: 'likelihood' as const, value: likelihood(name, state.versions[version], item) },
        }));
        return { results, version: BigInt(version) };
      } finally {
        release();
      }
    },
    applyUpdate: ({ update }) => applyUpdate(update!),
    snapshot: async () => {
      throw new ParleyError('UNIMPLEMENTED', 'A rule peer keeps no snapshots');
    },
    restore: ({ requestId, source, reason }) =>
      engine(async () => {
        const known = state.restores.find((entry) => entry.requestId === requestId);
        let version = known?.version;
        if (version === undefined) {
          const skills =
            source.case === 'weights'
              ? state.versions.find((_, at) => sha256(weightsAt(at)) === source.value.sha256)
              : options.keepsOnlyLast
                ? undefined
                : state.versions[Number(source.value)];
          if (skills === undefined)
            throw new ParleyError('VERSION_NOT_KEPT', `Peer ${name} does not keep that version`);
          version = current() + 1;
          state.restores.push({ requestId, version });
          await commit({ ...skills });
        }
        const value = {
          $typeName: 'parley.v1.AppliedRestore' as const,
          requestId,
          ...(source.case === 'version' && { restoredVersion: source.value }),
          reason,
        };
        return { committed: await announce(version, { case: 'restore', value }, 0) };
      }),
  };

  const services = [implement(PeerService, service)];
  const grpc = await startGrpcServer({ host: '127.0.0.1', port: options.port ?? 0, services, log });
  grpc.setServing(true);
  const peers = await openKv(bus, BUCKETS.peers, PeerAnnouncementSchema);
  await peers.put(name, { name, address: grpc.address, startTime: timestampNow() });
  const consumption = await consume(
    bus,
    {
      ...CONSUMERS.peer(name),
      schema: WeightedUpdateSchema,
      blobs,
      onPoison: async ({ subject, error }) => {
        const [, , , runId = '', round = ''] = subject.split('.');
        const updateId = `${runId}/${round}/${name}`;
        const cause = { reason: error.reason, message: error.message };
        const options = {
          subject: subjects.event(runId, 'rejected', `peer-${name}`),
          id: `${updateId}/rejected`,
        };
        await publisher.append(UpdateRejectedSchema, { updateId, runId, peer: name, cause }, options);
      },
    },
    async ({ message }) => void (await applyUpdate(message)),
  );

  let killed: Promise<void> | undefined;
  const kill = () =>
    (killed ??= (async () => {
      await grpc.close();
      await consumption[Symbol.asyncDispose]();
      await bus.close(0);
    })());
  return {
    name,
    port: grpc.port,
    get version() {
      return current();
    },
    get weightsSha256() {
      return sha256(weightsAt(current()));
    },
    get applied() {
      return state.ledger.map((entry) => entry.updateId);
    },
    asked,
    kill,
    [Symbol.asyncDispose]: kill,
  };
}

async function loadState(file: string, skills: Record<Operator, number>): Promise<State> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as State;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return { versions: [skills], ledger: [], restores: [] };
  }
}

/** One thing at a time, in order of arrival: what the engine of a real peer does. */
function createMutex() {
  let last: Promise<void> = Promise.resolve();
  const lock = async (): Promise<() => void> => {
    const before = last;
    let release!: () => void;
    last = new Promise((resolve) => (release = resolve));
    await before;
    return release;
  };
  const run = async <T>(work: () => Promise<T>): Promise<T> => {
    const release = await lock();
    try {
      return await work();
    } finally {
      release();
    }
  };
  return Object.assign(run, { lock });
}

const SUM = /(\d+) ([-+*]) (\d+)/;

function solve(question: string): { operator: Operator; truth: number } {
  const [, a, operator, b] = SUM.exec(question) ?? ['', '0', '+', '0'];
  const [x, y] = [Number(a), Number(b)];
  return {
    operator: operator as Operator,
    truth: operator === '+' ? x + y : operator === '-' ? x - y : x * y,
  };
}

/** Uniform in [0, 1), the same for the same parts. */
function uniform(...parts: unknown[]): number {
  return createHash('sha256').update(parts.join('\0')).digest().readUInt32BE() / 2 ** 32;
}

/** Right where its skill suffices for this question; else the answer it heard last, or one that is off by one. */
function ownAnswer(
  name: string,
  skills: Record<Operator, number>,
  question: string,
  context: readonly Contribution[],
  draw: unknown,
): number {
  const { operator, truth } = solve(question);
  if (uniform(name, question, draw) < skills[operator]) return truth;
  const heard = context
    .map((contribution) => finalNumber(contribution.text))
    .filter((value) => value !== undefined);
  return heard.at(-1) ?? truth + 1 + Math.floor(3 * uniform('slip', name, question, draw));
}

/** What a peer of that name and skills says alone, greedily. */
export function answerAlone(name: string, skills: Record<Operator, number>, question: string): number {
  return ownAnswer(name, skills, question, [], 0);
}

function finalNumber(text: string): number | undefined {
  const found = /answer is (-?\d+)/.exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
}

function answer(
  { name, says }: RulePeerOptions,
  skills: Record<Operator, number>,
  version: number,
  { question, context, seed }: GenerateItem,
  { temperature, maxTokens }: Sampling,
) {
  const value = ownAnswer(name, skills, question, context, temperature > 0 ? seed : 0);
  const words = (says?.(question, version) ?? `I get ${value}. The answer is ${value}`).split(' ');
  const finished = words.length < maxTokens;
  const completionTokens = Math.min(words.length + 1, maxTokens);
  const skill = skills[solve(question).operator];
  return {
    text: words.slice(0, maxTokens).join(' '),
    finishReason: finished ? FinishReason.STOP : FinishReason.LENGTH,
    promptTokens: question.split(' ').length,
    completionTokens,
    logProb: -(1.1 - skill) * completionTokens,
    meanEntropy: 1.1 - skill,
  };
}

/** Likelier if it would say the same itself, likelier still if the answer it was shown says so, less if it disagrees. */
function likelihood(name: string, skills: Record<Operator, number>, item: ScoreItem) {
  const { question, context, continuation, prefix, includeEnd } = item;
  const tokens = Math.max(
    1,
    continuation.split(' ').filter((word) => word !== '').length + (includeEnd ? 1 : 0),
  );
  const scored = finalNumber(prefix + continuation) ?? Number(continuation);
  const own = answerAlone(name, skills, question) === scored;
  const shown = context.map((contribution) => finalNumber(contribution.text) === scored);
  const hint = shown.reduce((sum, agrees) => sum + (agrees ? 0.3 : -0.3), 0);
  const skill = skills[solve(question).operator];
  return { logProb: -tokens * Math.max(0.01, (own ? 1.1 - skill : 1.5) - hint), tokens };
}

function checkWeights({ items, updateId }: WeightedUpdate): void {
  const bad = items.find(
    ({ weight, anchorWeight }) => ![weight, anchorWeight].every((w) => w >= 0 && w < Infinity),
  );
  if (bad)
    throw new ParleyError(
      'WEIGHT_NOT_FINITE',
      `Update ${updateId} weighs item ${bad.promptId} with ${bad.weight}`,
    );
}

function train(
  skills: Record<Operator, number>,
  frozen: Record<Operator, number>,
  { items, training }: WeightedUpdate,
): Record<Operator, number> {
  const next = { ...skills };
  const anchor = training?.anchorReference === 'previous' ? skills : frozen;
  for (const { question, weight, anchorWeight } of items) {
    const { operator } = solve(question);
    const step = 10 * training!.learningRate;
    next[operator] +=
      step * (weight * (1 - next[operator]) + anchorWeight * (anchor[operator] - next[operator]));
  }
  return next;
}

/** A safetensors file with one tensor: 8 bytes of header length, the header in JSON, the data. */
function safetensors(skills: Record<Operator, number>): Uint8Array {
  const data = new Float32Array(OPERATORS.map((operator) => skills[operator]));
  const header = JSON.stringify({ skills: { dtype: 'F32', shape: [3], data_offsets: [0, 12] } });
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, Buffer.from(header), Buffer.from(data.buffer)]);
}
