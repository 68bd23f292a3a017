import { create } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { VersionCommittedSchema } from '@parley/contracts';
import type { TrainingReport, VersionCommitted } from '@parley/contracts';
import type { LanguageModel, ModelState } from '@parley/lm';
import { ParleyError, inSpan, startTimer } from '@parley/runtime';
import type { Log } from '@parley/runtime';
import { digestAsync } from './digest-async.js';
import { requireFiniteWeights } from './finite-weights.js';
import { createEngineQueue } from './engine-queue.js';
import type { Activity } from './engine-queue.js';
import type { Head } from './head-file.js';
import type { Ledger } from './ledger.js';
import { mappingLmErrors } from './lm-failure.js';
import type { PeerMetrics } from './peer-metrics.js';
import type { StateStore } from './state-store.js';
import type { VersionLog } from './version-log.js';
import type { WeightsStore } from './weights-store.js';

/** Changes the model in memory. If it throws, the model is put back to what is committed. */
export type ApplyChange = (model: LanguageModel) => Promise<TrainingReport | undefined>;

/** What makes a new version. */
export interface Change {
  readonly activity: Activity;
  /** The version that this change made already, by the ledger. */
  madeBefore(ledger: Ledger): number | undefined;
  /** Checks and gets ready, before the engine is taken. What it throws refuses the change; nothing has changed then. */
  prepare(): Promise<ApplyChange>;
  readonly cause: VersionCommitted['cause'];
  /** The ledger with this change in it. */
  record(ledger: Ledger, version: number): Ledger;
}

/** The version that a change made. */
export interface Advance {
  readonly committed: VersionCommitted;
  /** The ledger had the change already; nothing was done. */
  readonly repeated: boolean;
}

/** What reads the model: answers and scores. */
export interface ReadRequest {
  readonly activity: Activity;
  /** The only version that will do, if given. */
  readonly version?: bigint | undefined;
  /** Fires when nobody waits for the result any more. */
  readonly signal: AbortSignal;
}

/**
 * A model whose weights have versions. A read sees one version from beginning to end; reads go on beside one another, and
 * generations on a model that keeps versions (LoRA) also beside changes. A change is committed to disk, then published, and only then the next one begins: versions reach the bus without gaps.
 */
export interface VersionedModel {
  readonly info: LanguageModel['info'];
  /** What is committed and served. */
  readonly head: Head;
  /** What the engine does now. */
  readonly activity: Activity | 'idle';
  /** Fraction of the time since start that the engine was computing, in [0, 1]. */
  readonly utilization: number;
  /** Jobs that wait for the engine or run on it. */
  readonly depth: number;
  /** @throws ParleyError VERSION_MISMATCH when its turn comes and another version is served; what the work throws */
  read<T>(request: ReadRequest, work: (model: LanguageModel, version: number) => Promise<T>): Promise<T>;
  /**
   * Makes the next version: change in memory, commit to disk, store the weights, publish. Idempotent by the ledger. When it
   * throws, either nothing has changed, or the version is durable and the next call publishes it.
   *
   * @throws what the change throws, DISK_FULL, BUS_UNAVAILABLE; the signal's reason if it fires before the work begins
   */
  advance(change: Change, signal?: AbortSignal): Promise<Advance>;
  /** Publishes the committed version if that has not been confirmed since start. Idempotent. */
  publishPending(): Promise<void>;
  /** Finishes what was asked for and refuses the rest. Idempotent; does not close the model. */
  close(): Promise<void>;
}

/** What a {@link VersionedModel} is made of. */
export interface VersionedModelParts {
  model: LanguageModel;
  store: StateStore;
  weights: WeightsStore;
  versions: VersionLog;
  metrics: PeerMetrics;
  log: Log;
  /** Monotonic, in milliseconds. */
  nowMs: () => number;
  /** Wall clock. */
  date: () => Date;
  /** Told once if the model can no longer be brought to its committed state; every later call fails. */
  onLost: (error: unknown) => void;
}

/** The model must hold the store's committed state. */
export function createVersionedModel(parts: VersionedModelParts): VersionedModel {
  const { model, store, weights, versions, metrics, log, nowMs } = parts;
  const engine = createEngineQueue(nowMs, (activity, seconds) => metrics.busy.inc({ activity }, seconds));
  const changes = createEngineQueue(nowMs);
  let published = 0;
  let lost: ParleyError | undefined;

  const unlessLost =
    <T>(work: () => Promise<T>) =>
    (): Promise<T> => {
      if (lost) throw lost;
      return mappingLmErrors(work);
    };
  const backToCommitted = async () => {
    try {
      await model.importState(await store.reload());
    } catch (cause) {
      const problem = cause instanceof Error ? cause.message : String(cause);
      const message = `The model cannot be brought back to its committed state: ${problem}. Restart the peer`;
      lost = new ParleyError('INTERNAL', message, { cause });
      parts.onLost(lost);
    }
  };
  const commit = async (
    change: Change,
    apply: ApplyChange,
  ): Promise<{ committed: VersionCommitted; state: ModelState }> => {
    try {
      const trained = startTimer(nowMs);
      const report = await inSpan(change.activity, {}, () => apply(model));
      if (report) measureTraining(metrics, report, trained());
      const swapped = startTimer(nowMs);
      const result = await inSpan('commit', {}, async (span) => {
        metrics.parity.set(await model.checkParity());
        const state = await model.exportState();
        await requireFiniteWeights(state.weights, 'The changed model');
        const next = await nextHead(store.head, change, report, state, parts);
        await store.commit(next, state);
        span.setAttributes({ 'parley.peer': next.peer, 'parley.version': next.version });
        return { committed: next.lastCommitted, state };
      });
      metrics.swap.observe(swapped());
      return result;
    } catch (error) {
      log.warn(
        { err: error, version: store.head.version },
        'the change failed; the model goes back to its version',
      );
      await backToCommitted();
      throw error;
    }
  };
  const publish = async (known?: Uint8Array) => {
    const { version, lastCommitted } = store.head;
    if (lastCommitted === undefined || version === published) return;
    const content = known ?? (await store.readVersion(version));
    if (content) await weights.put(content);
    await versions.publish(lastCommitted);
    published = version;
  };

  return {
    get info() {
      return model.info;
    },
    get head() {
      return store.head;
    },
    get activity() {
      return engine.activity;
    },
    get utilization() {
      return engine.utilization;
    },
    get depth() {
      return engine.depth;
    },
    async read({ activity, version, signal }, work) {
      const job = unlessLost(async () => {
        if (version !== undefined) checkVersion(store.head, version);
        return work(model, store.head.version);
      });
      // The engine takes all of a generation in at once, and ends it with the weights it began with.
      return engine.share(activity, job, {
        signal,
        outlives: activity === 'generating' && model.info.keepsVersions,
      });
    },
    async advance(change, signal) {
      return changes.run(
        change.activity,
        async () => {
          const taken = startTimer(nowMs);
          await publish();
          const version = change.madeBefore(store.head.ledger);
          if (version !== undefined)
            return { committed: await recordOf(store.head, version, change, versions), repeated: true };
          const apply = await mappingLmErrors(() => change.prepare());
          const { committed, state } = await engine.run(
            change.activity,
            unlessLost(() => commit(change, apply)),
            signal,
          );
          await publish(state.weights);
          metrics.update.observe(taken());
          return { committed, repeated: false };
        },
        signal,
      );
    },
    publishPending: () => changes.run('loading', () => publish()),
    async close() {
      await changes.close();
      await engine.close();
    },
  };
}

function measureTraining(metrics: PeerMetrics, report: TrainingReport, seconds: number): void {
  metrics.training.observe(seconds);
  metrics.tokens.inc({ kind: 'trained' }, Number(report.tokens));
  if (report.steps === 0) return;
  metrics.loss.set(report.meanLoss);
  metrics.gradNorm.set(report.meanGradNorm);
}

async function nextHead(
  head: Head,
  change: Change,
  report: TrainingReport | undefined,
  state: ModelState,
  { weights, date }: VersionedModelParts,
): Promise<Head & { lastCommitted: VersionCommitted }> {
  const version = head.version + 1;
  const ledger = change.record(head.ledger, version);
  const weightsSha256 = await digestAsync(state.weights);
  const lastCommitted = create(VersionCommittedSchema, {
    peer: head.peer,
    version: BigInt(version),
    parentVersion: BigInt(head.version),
    cause: change.cause,
    weights: weights.referenceOf(weightsSha256, state.weights.byteLength),
    updatesApplied: BigInt(ledger.updatesApplied),
    ...(report && { report }),
    commitTime: timestampFromDate(date()),
  });
  return { ...head, version, weightsSha256, ledger, lastCommitted };
}

/** The event of an earlier commit: our last one, else the stream's, else (the stream lost it) what the ledger knows. */
async function recordOf(
  head: Head,
  version: number,
  change: Change,
  versions: VersionLog,
): Promise<VersionCommitted> {
  if (head.lastCommitted?.version === BigInt(version)) return head.lastCommitted;
  const known = {
    peer: head.peer,
    version: BigInt(version),
    parentVersion: BigInt(version - 1),
    cause: change.cause,
  };
  return (await versions.find(version)) ?? create(VersionCommittedSchema, known);
}

function checkVersion({ peer, version }: Head, wanted: bigint): void {
  if (wanted === BigInt(version)) return;
  throw new ParleyError(
    'VERSION_MISMATCH',
    `Peer ${peer} serves version ${version}, but the request needs version ${wanted}; ask Describe and repeat the request`,
    { details: { peer, version: String(version), wanted: String(wanted) } },
  );
}
