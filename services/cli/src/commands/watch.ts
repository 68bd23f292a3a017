import { Command } from 'commander';
import { toJson } from '@bufbuild/protobuf';
import { RunState, WatchRunResponseSchema } from '@parley/contracts';
import { create } from '@bufbuild/protobuf';
import { ParleyError } from '@parley/runtime';
import type { Cli } from '../cli.js';
import { connectCoordinator } from '../mesh/find-coordinator.js';
import { describeEvent } from '../runs/describe-event.js';
import { followRun, stateName } from '../runs/follow-run.js';
import type { RunEvent } from '../runs/follow-run.js';
import { createRunRecorder } from '../runs/run-recorder.js';
import { addJson, addState, fromCwd } from './common-options.js';
import type { CommonOptions } from './common-options.js';

interface WatchOptions extends CommonOptions {
  coordinator?: string;
}

/** `parley watch`. */
export function watchCommand(cli: Cli): Command {
  const command = new Command('watch')
    .summary('follow a run to its end')
    .description(
      'Prints what happens in a run, from how it stands now to its end, also across a restart of the coordinator.',
    )
    .argument('<run>', 'id of the run; `parley runs` lists them')
    .option('--coordinator <address>', 'host:port of the coordinator; the mesh that is up here unless given');
  addState(addJson(command, 'every event'));
  return command.action(async (runId: string, options: WatchOptions) => watch(cli, runId, options));
}

async function watch(cli: Cli, runId: string, { json, state, coordinator }: WatchOptions): Promise<void> {
  using client = await connectCoordinator({
    state: fromCwd(cli, state),
    env: cli.env,
    ...(coordinator && { coordinator }),
  });
  const recorder = createRunRecorder();
  const run = await followRun({
    client,
    runId,
    signal: cli.signal,
    onEvent(event) {
      if (recorder.add(event)) cli.out(json ? eventJson(event) : describeEvent(event));
    },
    onReconnect: (error) =>
      cli.terminal.line(`The coordinator does not answer, trying again: ${error.message}`),
  });
  if (run.state === RunState.COMPLETED) return;
  const reason = run.stateReason === '' ? '' : `: ${run.stateReason}`;
  throw new ParleyError('RUN_STATE_CONFLICT', `Run ${runId} ${stateName(run.state)}${reason}`);
}

/** The event as protobuf's JSON, on one line. */
function eventJson(event: RunEvent): string {
  return JSON.stringify(toJson(WatchRunResponseSchema, create(WatchRunResponseSchema, { event })));
}
