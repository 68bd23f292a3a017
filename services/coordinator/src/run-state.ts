import { clone, create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { RunSchema, RunState } from '@parley/contracts';
import type { Run, RunSpec } from '@parley/contracts';
import { ParleyError } from '@parley/runtime';

const ENDED: ReadonlySet<RunState> = new Set([RunState.COMPLETED, RunState.STOPPED, RunState.FAILED]);

/** Whether nothing more will happen in a run. */
export function hasEnded(run: Run): boolean {
  return ENDED.has(run.state);
}

/** A run that begins now. */
export function newRun(runId: string, spec: RunSpec, nowMs: number): Run {
  const time = timestampFromMs(nowMs);
  return create(RunSchema, { runId, spec, state: RunState.RUNNING, createTime: time, updateTime: time });
}

/** The run in another state; the given one is left as it is. */
export function inState(run: Run, state: RunState, reason: string, nowMs: number): Run {
  return Object.assign(clone(RunSchema, run), {
    state,
    stateReason: reason,
    updateTime: timestampFromMs(nowMs),
  });
}

/**
 * What an operator may ask of a run: `undefined` if it is so already.
 *
 * @throws ParleyError RUN_STATE_CONFLICT naming the state
 */
export function steer(
  run: Run,
  wish: 'pause' | 'resume' | 'stop',
  reason: string,
  nowMs: number,
): Run | undefined {
  const refuse = (remedy: string) =>
    new ParleyError(
      'RUN_STATE_CONFLICT',
      `Run ${run.runId} is ${RunState[run.state]}${run.stateReason && ` (${run.stateReason})`} and cannot ${wish}; ${remedy}`,
      { details: { run: run.runId, state: RunState[run.state] } },
    );
  switch (wish) {
    case 'pause':
      if (run.state === RunState.PAUSED) return undefined;
      if (hasEnded(run)) throw refuse('it has ended: create a new run');
      return inState(run, RunState.PAUSED, reason || 'paused by an operator', nowMs);
    case 'resume':
      if (run.state !== RunState.PAUSED) throw refuse('only a paused run can');
      return inState(run, RunState.RUNNING, '', nowMs);
    case 'stop':
      if (run.state === RunState.STOPPED) return undefined;
      if (hasEnded(run)) throw refuse('it has ended by itself');
      return inState(run, RunState.STOPPED, reason || 'stopped by an operator', nowMs);
  }
}
