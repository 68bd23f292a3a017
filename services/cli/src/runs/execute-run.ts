import type { CoordinatorService, DescribeResponse, Run } from '@parley/contracts';
import { ParleyError, sleep } from '@parley/runtime';
import type { Client } from '@parley/runtime';
import type { Cli } from '../cli.js';
import { followRun } from './follow-run.js';
import { createRunProgress, roundsOf } from './run-progress.js';
import type { RunHistory } from './run-recorder.js';
import { createRun, submitPrompts } from './submit-run.js';
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

/** How a run is executed. */
export interface ExecuteOptions {
  /** How long to wait for peers that do not answer, before the run and after it; 10 minutes unless given. */
  peerWaitMs?: number;
}

/** A pod that comes back, or one that is given to a peer when a run wants it, takes as long as its model takes to load. */
const PEER_WAIT_MS = 10 * 60_000;

/**
 * Creates a run, gives it its questions once all its peers answer, and shows its progress until it ends, whatever its end. Without
 * a peer no question is submitted and the run is stopped.
 *
 * @throws ParleyError PEER_UNKNOWN, or PEER_LOST after `peerWaitMs`
 */
export async function executeRun(
  cli: Pick<Cli, 'terminal' | 'signal' | 'now'>,
  coordinator: Client<typeof CoordinatorService>,
  request: RunRequest,
  { peerWaitMs = PEER_WAIT_MS }: ExecuteOptions = {},
): Promise<ExecutedRun> {
  const { terminal, signal, now } = cli;
  const { runId, peers } = request;
  const startTime = now();
  await createRun(coordinator, request, signal);
  const say = (line: string) => terminal.line(line);
  let before: DescribeResponse[];
  try {
    before = await untilDescribed(coordinator, peers, { waitMs: peerWaitMs, signal, say });
  } catch (error) {
    await coordinator.stopRun({ runId });
    throw error;
  }
  await submitPrompts(coordinator, request, signal);
  const updates = roundsOf(request.prompts.length, request.recipe) * peers.length;
  const progress = createRunProgress(terminal, updates);
  try {
    const run = await followRun({
      client: coordinator,
      runId,
      signal,
      onEvent: (event) => progress.add(event),
      onReconnect: (error) => say(`  the coordinator does not answer, trying again: ${error.message}`),
    });
    const after = await untilDescribed(coordinator, peers, { waitMs: peerWaitMs, signal, say });
    return { run, history: progress.recorder.history(), before, after, startTime, endTime: now() };
  } finally {
    progress.close();
  }
}

const POLL_MS = 1000;

/** What the peers of a mesh say of themselves, in the order asked for, as soon as all of them answer. */
async function untilDescribed(
  coordinator: Client<typeof CoordinatorService>,
  names: readonly string[],
  { waitMs, signal, say }: { waitMs: number; signal: AbortSignal; say: (line: string) => void },
): Promise<DescribeResponse[]> {
  const endMs = performance.now() + waitMs;
  for (let told = false; ; told = true) {
    const { peers } = await coordinator.listPeers({}, { signal });
    const statuses = names.map((name) => peers.find(({ announcement }) => announcement?.name === name));
    const descriptions = statuses.flatMap((status) => status?.description ?? []);
    if (descriptions.length === names.length) return descriptions;
    const missing = names.filter((_, index) => statuses[index]?.description === undefined);
    if (performance.now() >= endMs) {
      throw new ParleyError(
        'PEER_LOST',
        `Peer ${missing.join(', ')} does not answer; start it again, or leave it out`,
        { details: { peers: missing.join(',') } },
      );
    }
    if (!told) say(`Waiting up to ${Math.round(waitMs / 1000)} s for ${missing.join(', ')} to answer`);
    await sleep(POLL_MS, signal);
  }
}
