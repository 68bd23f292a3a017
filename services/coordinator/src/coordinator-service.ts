import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { OperatorActionSchema } from '@parley/contracts';
import type { CoordinatorService, ListRunsRequest, Run } from '@parley/contracts';
import type { PeerDirectory, PeerPool, RunEvents } from '@parley/mesh';
import { ParleyError } from '@parley/runtime';
import type { CallContext, ServiceImpl } from '@parley/runtime';
import type { PromptIntake } from './prompt-intake.js';
import { refuseClones } from './refuse-clones.js';
import { describe } from './run-progress.js';
import { checkPrompts, checkRunId, checkRunRequest } from './run-request.js';
import { hasEnded, newRun, steer } from './run-state.js';
import type { RunStore } from './run-store.js';
import { watchRun } from './watch-run.js';
import type { WatchParts } from './watch-run.js';

/** What the RPCs work on. */
export interface CoordinatorServiceParts {
  store: RunStore;
  intake: PromptIntake;
  directory: PeerDirectory;
  pool: PeerPool;
  events: Pick<RunEvents, 'audit'>;
  watching: WatchParts;
  /** Aborted when the service stops: watchers are sent away then. */
  stopping: AbortSignal;
  /** Milliseconds since the epoch. */
  wallClockMs: () => number;
}

const DEFAULT_PAGE = 50;
const MAX_PAGE = 500;
/** What a page token holds: creation time in seconds and nanoseconds, and the id of the run. */
const PLACE = /^\d{20}\.\d{9}\/.+$/;

/** `parley.v1.CoordinatorService` over the store of runs. */
export function createCoordinatorService(
  parts: CoordinatorServiceParts,
): ServiceImpl<typeof CoordinatorService> {
  const { store, intake, directory, pool, events, watching, stopping, wallClockMs } = parts;
  const complete = watching.complete;
  /** Records what is asked for, before it is done. */
  const audit = async (runId: string, method: string, { actor, caller }: CallContext, detail = '') => {
    const time = timestampFromMs(wallClockMs());
    await events.audit(create(OperatorActionSchema, { runId, method, actor, caller, detail, time }));
  };
  const change = async (runId: string, wish: 'pause' | 'resume' | 'stop', reason = ''): Promise<Run> => {
    const { run } = await store.change(runId, (stored) => steer(stored, wish, reason, wallClockMs()));
    return complete(run);
  };
  return {
    createRun: async (request, context) => {
      const spec = checkRunRequest(request);
      await directory.refresh();
      checkAnnounced(spec.peers, directory);
      if (!spec.recipe?.guards?.allowClones) {
        // Those that do not answer yet are looked at when the run begins.
        const described = await Promise.all(spec.peers.map((name) => describe(pool, name)));
        refuseClones(described.filter((description) => description !== undefined));
      }
      await audit(request.requestId, 'CreateRun', context, `peers ${spec.peers.join(', ')}`);
      return { run: await complete(await store.create(newRun(request.requestId, spec, wallClockMs()))) };
    },
    getRun: async ({ runId }) => ({ run: await complete(await store.get(checkRunId(runId))) }),
    listRuns: async (request) => {
      const { runs, nextPageToken } = page(await store.list(), request);
      return { runs: await Promise.all(runs.map(complete)), nextPageToken };
    },
    async *watchRun({ runId }, { signal }) {
      try {
        yield* watchRun(watching, checkRunId(runId), AbortSignal.any([signal, stopping]));
      } catch (error) {
        if (!stopping.aborted || signal.aborted) throw error;
        throw new ParleyError('SHUTTING_DOWN', 'The coordinator is stopping; watch again to go on', {
          cause: error,
        });
      }
    },
    submitPrompts: async ({ runId, prompts, close }, context) => {
      checkPrompts(prompts);
      const run = await store.get(checkRunId(runId));
      await audit(runId, 'SubmitPrompts', context, `${prompts.length} prompts${close ? ', the last' : ''}`);
      return intake.submit(runId, prompts, close, hasEnded(run) ? endedError(run) : undefined);
    },
    pauseRun: async ({ runId, reason }, context) => {
      await store.get(checkRunId(runId));
      await audit(runId, 'PauseRun', context, reason);
      return { run: await change(runId, 'pause', reason) };
    },
    resumeRun: async ({ runId }, context) => {
      await store.get(checkRunId(runId));
      await audit(runId, 'ResumeRun', context);
      return { run: await change(runId, 'resume') };
    },
    stopRun: async ({ runId, reason }, context) => {
      await store.get(checkRunId(runId));
      await audit(runId, 'StopRun', context, reason);
      return { run: await change(runId, 'stop', reason) };
    },
    listPeers: async () => {
      await directory.refresh();
      const peers = directory.list().map(async (announcement) => {
        const description = await describe(pool, announcement.name);
        const runId = await store.runOf(announcement.name);
        return {
          announcement,
          available: description !== undefined,
          runId: runId ?? '',
          ...(description && { description }),
        };
      });
      return { peers: await Promise.all(peers) };
    },
  };
}

function checkAnnounced(peers: readonly string[], directory: PeerDirectory): void {
  const unknown = peers.filter((name) => directory.get(name) === undefined);
  if (unknown.length === 0) return;
  const known = directory.list().map(({ name }) => name);
  throw new ParleyError(
    'PEER_UNKNOWN',
    `Nobody has announced peer ${unknown.join(', ')}; start it first (announced are: ${known.join(', ') || 'none'})`,
    { details: { peers: unknown.join(',') } },
  );
}

function endedError({ runId, stateReason }: Run): ParleyError {
  const why = stateReason === '' ? '' : ` (${stateReason})`;
  const message = `Run ${runId} has ended${why} and takes no more prompts; create another run`;
  return new ParleyError('RUN_STATE_CONFLICT', message, { details: { run: runId } });
}

/** Newest first; the token is the place of the last run of the page before. */
function page(
  runs: readonly Run[],
  { pageSize, pageToken }: ListRunsRequest,
): { runs: Run[]; nextPageToken: string } {
  if (pageSize > MAX_PAGE) {
    throw new ParleyError('REQUEST_INVALID', `page_size is ${pageSize}; at most ${MAX_PAGE} runs fit a page`);
  }
  const size = pageSize || DEFAULT_PAGE;
  const place = ({ runId, createTime }: Run) => {
    const { seconds = 0n, nanos = 0 } = createTime ?? {};
    return `${seconds.toString().padStart(20, '0')}.${nanos.toString().padStart(9, '0')}/${runId}`;
  };
  const after = pageToken === '' ? undefined : Buffer.from(pageToken, 'base64url').toString();
  if (after !== undefined && !PLACE.test(after)) {
    throw new ParleyError(
      'REQUEST_INVALID',
      'page_token is none that ListRuns gave; leave it empty to begin',
    );
  }
  const sorted = runs
    .map((run) => ({ run, place: place(run) }))
    .filter((entry) => after === undefined || entry.place < after)
    .sort((a, b) => (a.place < b.place ? 1 : -1));
  const chosen = sorted.slice(0, size);
  const more = sorted.length > size;
  return {
    runs: chosen.map(({ run }) => run),
    nextPageToken: more ? Buffer.from(chosen.at(-1)!.place).toString('base64url') : '',
  };
}
