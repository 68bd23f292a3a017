import { create, equals } from '@bufbuild/protobuf';
import type { KvTable } from '@parley/bus';
import { RunSchema, RunSpecSchema } from '@parley/contracts';
import type { Run } from '@parley/contracts';
import { ParleyError, isParleyError } from '@parley/runtime';
import { hasEnded } from './run-state.js';

/** A run and the write that made it so. */
export interface StoredRun {
  run: Run;
  /** Grows with every write. */
  revision: number;
}

/** The runs as they are stored: what they are to do and what they do now. Progress is not among it. */
export interface RunStore {
  /**
   * Stores a new run, or returns the one that the same request made before.
   *
   * @throws ParleyError PEER_BUSY naming the peer and its run, REQUEST_INVALID if another request made a run of this id
   */
  create(run: Run): Promise<Run>;
  /** @throws ParleyError RUN_UNKNOWN */
  get(runId: string): Promise<Run>;
  list(): Promise<Run[]>;
  /** Changes a run by compare-and-set; `edit` returns `undefined` to leave it as it is. @throws what `edit` throws */
  change(runId: string, edit: (run: Run) => Run | undefined): Promise<StoredRun>;
  /** Every run, then every change, until the signal is aborted. */
  watch(signal: AbortSignal): AsyncGenerator<StoredRun>;
  /** The active run that a peer learns in. */
  runOf(peer: string): Promise<string | undefined>;
}

type Runs = KvTable<typeof RunSchema>;

/**
 * A store in a bucket: a run under its id, and under `peer.<name>` the run that a peer belongs to. A new run claims its
 * peers, is written, and looks whether it still has them. Whoever takes a claim over from a run that does not exist
 * looks again whether it does by now. So of two runs that want the same peer at the same instant, at most one remains.
 */
export function createRunStore(runs: Runs): RunStore {
  const find = async (runId: string): Promise<Run | undefined> => (await runs.get(runId))?.value;
  const isActive = async (runId: string): Promise<boolean> => {
    const run = await find(runId);
    return run !== undefined && !hasEnded(run);
  };
  const claimKey = (peer: string) => `peer.${peer}`;

  const claim = async (peer: string, runId: string): Promise<void> => {
    const found = await runs.get(claimKey(peer));
    const holder = found?.value.runId;
    if (holder === runId) return;
    if (holder !== undefined && (await isActive(holder))) throw busy(peer, holder);
    const value = create(RunSchema, { runId });
    try {
      if (found === undefined) await runs.create(claimKey(peer), value);
      else await runs.update(claimKey(peer), value, found.revision);
    } catch (error) {
      if (!isParleyError(error, 'REVISION_CONFLICT')) throw error;
      return claim(peer, runId);
    }
    if (holder !== undefined && (await isActive(holder))) throw busy(peer, holder);
  };

  const change: RunStore['change'] = async (runId, edit) => {
    for (;;) {
      const found = await runs.get(runId);
      if (found === undefined) throw unknown(runId);
      const changed = edit(found.value);
      if (changed === undefined) return { run: found.value, revision: found.revision };
      try {
        return { run: changed, revision: await runs.update(runId, changed, found.revision) };
      } catch (error) {
        if (!isParleyError(error, 'REVISION_CONFLICT')) throw error;
      }
    }
  };

  return {
    change,
    async create(run) {
      const { runId, spec } = run;
      const repeated = async (): Promise<Run | undefined> => {
        const existing = await find(runId);
        if (existing !== undefined && !equals(RunSpecSchema, existing.spec!, spec!)) throw taken(runId);
        return existing;
      };
      const existing = await repeated();
      if (existing) return existing;
      const peers = [...spec!.peers].sort();
      for (const peer of peers) await claim(peer, runId);
      try {
        await runs.create(runId, run);
      } catch (error) {
        if (!isParleyError(error, 'REVISION_CONFLICT')) throw error;
        return (await repeated()) ?? run;
      }
      for (const peer of peers) {
        const holder = (await runs.get(claimKey(peer)))?.value.runId ?? '';
        if (holder === runId) continue;
        await runs.delete(runId);
        throw busy(peer, holder);
      }
      return run;
    },
    async get(runId) {
      const run = await find(runId);
      if (run === undefined) throw unknown(runId);
      return run;
    },
    list: async () => (await runs.list('*')).map(({ value }) => value),
    async *watch(signal) {
      for await (const { value, revision } of runs.watch('*', signal)) {
        if (value) yield { run: value, revision };
      }
    },
    async runOf(peer) {
      const holder = (await runs.get(claimKey(peer)))?.value.runId;
      return holder !== undefined && (await isActive(holder)) ? holder : undefined;
    },
  };
}

function unknown(runId: string): ParleyError {
  return new ParleyError(
    'RUN_UNKNOWN',
    `No run has the id "${runId}"; list the runs to see which there are`,
    {
      details: { run: runId },
    },
  );
}

function busy(peer: string, runId: string): ParleyError {
  return new ParleyError(
    'PEER_BUSY',
    `Peer ${peer} learns in run ${runId}; stop that run or wait until it has ended`,
    { details: { peer, run: runId } },
  );
}

function taken(runId: string): ParleyError {
  return new ParleyError(
    'REQUEST_INVALID',
    `Run ${runId} exists with another specification; choose another request_id for a new run`,
    { details: { run: runId } },
  );
}
