import { join } from 'node:path';
import { RunState } from '@parley/contracts';
import type { DescribeResponse } from '@parley/contracts';
import { ParleyError } from '@parley/runtime';
import type { Recipe } from '@parley/pst';
import type { Cli } from '../cli.js';
import { connectPeers } from '../measure/peer-clients.js';
import type { PeerClients } from '../measure/peer-clients.js';
import { failureLine, measureWithProgress } from '../measure/measure-with-progress.js';
import type { Measurement } from '../measure/measurement.js';
import { coordinatorClient } from '../mesh/find-coordinator.js';
import { startLocalMesh } from '../mesh/local-mesh.js';
import type { LocalMesh } from '../mesh/local-mesh.js';
import type { LocalPeer } from '../mesh/mesh-services.js';
import { stateFolder } from '../mesh/state-folder.js';
import { nearPath } from '../output/format.js';
import { statusLine } from '../output/status-line.js';
import { executeRun } from '../runs/execute-run.js';
import type { ExecutedRun } from '../runs/execute-run.js';
import { stateName } from '../runs/follow-run.js';
import { createRunRecord, writeRunRecord } from '../runs/run-record.js';
import { newRunId } from '../runs/submit-run.js';
import type { DemoPlan } from './demo-plan.js';
import { demoResult } from './demo-result.js';
import { forgetOldDemos } from './forget-old-demos.js';
import type { DemoResult } from './demo-result.js';
import { createEngineWatch } from './engine-watch.js';
import type { PhaseTiming } from './engine-watch.js';

/** What a demo is made of. */
export interface DemoOptions {
  peers: readonly LocalPeer[];
  recipe: Recipe;
  plan: DemoPlan;
  seed: bigint;
  /** State folder; every demo has a fresh folder of its own inside. */
  state: string;
}

/** A finished demo. */
export interface FinishedDemo {
  result: DemoResult;
  before: Measurement;
  after: Measurement;
  /** Path of the run's record. */
  recordPath: string;
}

/** For one call of one peer: a thousand questions take seconds, on a busy machine perhaps minutes. */
const CALL_DEADLINE_MS = 300_000;

/**
 * The whole loop: a fresh mesh, a measurement, training on questions without answers, and the same measurement again.
 *
 * @throws ParleyError RUN_STATE_CONFLICT if the run does not complete, or what starting, measuring or training throws
 */
export async function runDemo(cli: Cli, options: DemoOptions): Promise<FinishedDemo> {
  const { peers, recipe, plan, seed } = options;
  const { terminal, signal } = cli;
  const startTime = cli.now();
  const runId = newRunId('demo', startTime, cli.random);
  const state = stateFolder(options.state);
  await forgetOldDemos(state);
  const folder = state.run(runId);
  await using engines = createEngineWatch();

  engines.enter('start services');
  terminal.line(
    `Bringing up the mesh; every demo starts from fresh state, this one in ${nearPath(folder, cli.cwd)}`,
  );
  await using mesh = await startMesh(cli, peers, join(folder, 'mesh'));
  using clients = connectPeers(mesh.peers);
  engines.watch(clients.peers);
  const descriptions = await requireUntrained(clients, signal);

  const measureAs = async (label: string) => {
    const context = { terminal, label, signal, deadlineMs: CALL_DEADLINE_MS };
    const measurement = await measureWithProgress(clients.peers, plan.measurement, context);
    const failures = failureLine(measurement);
    if (failures !== undefined) terminal.line(failures);
    return measurement;
  };
  const { length: heldOut } = plan.measurement.questions;
  engines.enter('measure before');
  terminal.line(`Measuring each peer on ${heldOut} held-out questions`);
  const before = await measureAs('Before');

  engines.enter('train');
  terminal.line(
    `Training on ${plan.prompts.length} other questions, without answers, by the recipe "${recipe.preset}"`,
  );
  const executed = await train(cli, mesh, { runId, recipe, seed, prompts: plan.prompts });
  requireCompleted(executed);

  engines.enter('measure after');
  terminal.line('Measuring each peer on the held-out questions again');
  const after = await measureAs('After');
  const phases = engines.finish();

  const endTime = cli.now();
  const record = createRunRecord({ ...executed, recipe, prompts: plan.prompts, startTime, endTime });
  const { rounds, updatesPublished, updatesApplied, wallSeconds } = record;
  const totals = { rounds, updatesPublished, updatesApplied, wallSeconds };
  const result = demoResult({ before, after, descriptions, ...totals, recipe, seed });
  const recordPath = await writeRunRecord(folder, {
    ...record,
    demo: {
      result,
      ...overhead(phases),
      phases,
      heldOutQuestions: heldOut,
      measurements: { before: summary(before), after: summary(after) },
    },
  });
  return { result, before, after, recordPath };
}

function startMesh(cli: Cli, peers: readonly LocalPeer[], state: string): Promise<LocalMesh> {
  return startLocalMesh({
    state,
    peers,
    withRuns: true,
    env: cli.env,
    signal: cli.signal,
    onStatus: (status) => {
      const line = statusLine(status);
      if (line !== undefined) cli.terminal.line(line);
    },
    onNotice: (text) => cli.terminal.line(text),
  });
}

async function requireUntrained(clients: PeerClients, signal: AbortSignal): Promise<DescribeResponse[]> {
  const descriptions = await clients.describe(signal);
  const trained = descriptions.find(({ version }) => version !== 0n);
  if (!trained) return descriptions;
  throw new ParleyError(
    'VERSION_MISMATCH',
    `Peer ${trained.name} starts at version ${trained.version}, but a demo begins with untrained peers; give an empty --state`,
  );
}

async function train(
  cli: Cli,
  mesh: LocalMesh,
  {
    runId,
    recipe,
    seed,
    prompts,
  }: Pick<DemoOptions, 'recipe' | 'seed'> & { runId: string; prompts: DemoPlan['prompts'] },
): Promise<ExecutedRun> {
  using coordinator = coordinatorClient(mesh.coordinator ?? '', {});
  const peers = [...mesh.peers.keys()];
  return await executeRun(cli, coordinator, { runId, title: 'demo', peers, recipe, seed, prompts });
}

function requireCompleted({ run }: ExecutedRun): void {
  if (run.state === RunState.COMPLETED) return;
  const reason = run.stateReason === '' ? '' : `: ${run.stateReason}`;
  throw new ParleyError('RUN_STATE_CONFLICT', `The demo's run ${stateName(run.state)}${reason}`);
}

/** Time in which no engine worked, over the whole demo. */
function overhead(phases: readonly PhaseTiming[]) {
  const seconds = phases.reduce((sum, phase) => sum + phase.seconds, 0);
  const idle = phases.reduce((sum, phase) => sum + phase.engineIdleSeconds, 0);
  return { meshOverhead: { seconds: idle, shareOfWall: idle / seconds } };
}

function summary({ peers, seconds }: Measurement) {
  return {
    seconds,
    peers: peers.map(({ name, version, gap, failures }) => ({
      name,
      version: Number(version),
      gap,
      failures,
    })),
  };
}
