import type { CoordinatorService, DescribeResponse, Run } from '@parley/contracts';
import { ParleyError } from '@parley/runtime';
import type { Client } from '@parley/runtime';
import type { Cli } from '../cli.js';
import { followRun } from './follow-run.js';
import { createRunProgress, roundsOf } from './run-progress.js';
import type { RunHistory } from './run-recorder.js';
import { submitRun } from './submit-run.js';
import type { RunRequest } from './submit-run.js';

/** A run that has ended, with all that was seen of it. */
export interface ExecutedRun {
  run: Run;
  history: RunHistory;
  /** Descriptions before and after, in the order of the run's peers. */
  before: DescribeResponse[];
  after: DescribeResponse[];
  startTime: Date;
  endTime: Date;
}

/** Creates a run, gives it its questions, and shows its progress until it ends, whatever its end. */
export async function executeRun(
  cli: Pick<Cli, 'terminal' | 'signal' | 'now'>,
  coordinator: Client<typeof CoordinatorService>,
  request: RunRequest,
): Promise<ExecutedRun> {
  const { terminal, signal, now } = cli;
  const startTime = now();
  const before = await describeAll(coordinator, request.peers, signal);
  await submitRun(coordinator, request, signal);
  const updates = roundsOf(request.prompts.length, request.recipe) * request.peers.length;
  const progress = createRunProgress(terminal, updates);
  try {
    const run = await followRun({
      client: coordinator,
      runId: request.runId,
      signal,
      onEvent: (event) => progress.add(event),
      onReconnect: (error) =>
        terminal.line(`  the coordinator does not answer, trying again: ${error.message}`),
    });
    const after = await describeAll(coordinator, request.peers, signal);
    return { run, history: progress.recorder.history(), before, after, startTime, endTime: now() };
  } finally {
    progress.close();
  }
}

/** What the peers of a mesh say of themselves, in the order asked for. @throws ParleyError PEER_UNKNOWN or PEER_LOST */
export async function describeAll(
  coordinator: Client<typeof CoordinatorService>,
  names: readonly string[],
  signal: AbortSignal,
): Promise<DescribeResponse[]> {
  const { peers } = await coordinator.listPeers({}, { signal });
  return names.map((name) => {
    const status = peers.find(({ announcement }) => announcement?.name === name);
    if (!status) {
      const known = peers.map(({ announcement }) => announcement?.name).join(', ') || 'none';
      throw new ParleyError(
        'PEER_UNKNOWN',
        `No peer "${name}" has announced itself to the mesh; known: ${known}`,
      );
    }
    if (status.description) return status.description;
    const where = status.announcement?.address ?? 'an unknown address';
    throw new ParleyError(
      'PEER_LOST',
      `Peer ${name} does not answer at ${where}; start it again, or leave it out`,
    );
  });
}
