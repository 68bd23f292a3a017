import { equal } from 'node:assert/strict';
import { fromJson } from '@bufbuild/protobuf';
import type { JsonValue } from '@bufbuild/protobuf';
import { RecipeSchema, RunState } from '@parley/contracts';
import type { Run } from '@parley/contracts';
import { resolveRecipe } from '@parley/pst';
import type { Recipe, RecipeOverride } from '@parley/pst';
import { readOutcome } from './outcome.js';
import type { RunOutcome } from './outcome.js';
import { isAway, withLogs } from './running-mesh.js';
import type { RunningMesh } from './running-mesh.js';
import { smallQuestions } from './small-models.js';
import { until } from './until.js';

/** A run for tests: everything its result depends on. */
export interface TestRun {
  runId: string;
  rounds: number;
  promptsPerRound?: number;
  seed?: bigint;
  recipe?: RecipeOverride;
  /** Those of the mesh unless given. */
  peers?: string[];
  /** Overwrites parts of the recipe after it was checked. */
  unchecked?: RecipeOverride;
}

const PROMPTS_PER_ROUND = 24;
const SEED = 7n;

/**
 * The paper's recipe in small, without the guards, which models that cannot calculate would set off. Updates take a few
 * tenths of a second, so that there is time to kill something meanwhile.
 */
export function smallRecipe(promptsPerRound = PROMPTS_PER_ROUND, override: RecipeOverride = {}): Recipe {
  const resolved = resolveRecipe(
    {
      preset: 'paper',
      order: 'rotated',
      ...override,
      generation: { temperature: 0.7, maxTokens: 12, ...override.generation },
      guards: {
        entropyDrop: null,
        lengthDrift: null,
        parseableDrop: null,
        ...override.guards,
      },
      training: { learningRate: 1e-3, epochs: 12, minibatchSize: 4, ...override.training },
      rounds: { promptsPerRound, microBatch: 8, ...override.rounds },
    },
    { peers: 3 },
  );
  if (!resolved.ok) throw new Error(JSON.stringify(resolved.problems));
  return resolved.recipe;
}

/** Creates a run and gives it all its questions. */
export async function startRun(mesh: RunningMesh, test: TestRun): Promise<void> {
  const { runId, rounds, promptsPerRound = PROMPTS_PER_ROUND, seed = SEED } = test;
  await createRun(mesh, test);
  const prompts = smallQuestions(rounds * promptsPerRound, seed);
  await mesh.coordinator.submitPrompts({ runId, prompts, close: true });
}

/** Creates a run that waits for its questions. */
export async function createRun(mesh: RunningMesh, test: TestRun): Promise<void> {
  const { runId, promptsPerRound, seed = SEED, peers = [...mesh.peers], unchecked = {} } = test;
  const checked: Record<string, unknown> = { ...smallRecipe(promptsPerRound, test.recipe) };
  for (const [field, value] of Object.entries(unchecked)) {
    checked[field] = typeof value === 'object' ? { ...(checked[field] as object), ...value } : value;
  }
  const recipe = fromJson(RecipeSchema, checked as JsonValue);
  await mesh.coordinator.createRun({ requestId: runId, spec: { peers, seed, title: 'test', recipe } });
}

/** The run once it has ended. Waits through any service being away. */
export async function untilEnded(mesh: RunningMesh, runId: string, deadlineMs: number): Promise<Run> {
  let last: Run | undefined;
  await until(
    `the end of run ${runId}`,
    async () => {
      try {
        last = (await mesh.coordinator.getRun({ runId }, { deadlineMs: 5000 })).run;
      } catch (error) {
        if (!isAway(error)) throw error;
      }
      return last !== undefined && hasEnded(last.state);
    },
    { deadlineMs, pollMs: 50 },
  ).catch((error: unknown) => {
    const { progress, stateReason = '' } = last ?? {};
    const state = last === undefined ? 'unknown' : RunState[last.state];
    const shown = JSON.stringify(progress, (_, value: unknown) =>
      typeof value === 'bigint' ? Number(value) : value,
    );
    throw new Error(`${(error as Error).message}; state ${state} ${stateReason}, progress ${shown}`);
  });
  if (last === undefined) throw new Error(`run ${runId} was never seen`);
  return last;
}

/** Takes a mesh through a run, which `drive` begins and disturbs, and reads what became of it. */
export async function driveRun(
  mesh: RunningMesh,
  runId: string,
  drive: () => Promise<void>,
  deadlineMs = 120_000,
): Promise<RunOutcome> {
  return await withLogs(mesh, async () => {
    await drive();
    const run = await untilEnded(mesh, runId, deadlineMs);
    equal(RunState[run.state], 'COMPLETED', run.stateReason);
    await mesh.untilUp();
    const { progress } = run;
    equal(progress?.updatesPublished, progress?.updatesApplied);
    return readOutcome(mesh, runId);
  });
}

function hasEnded(state: RunState): boolean {
  return state === RunState.COMPLETED || state === RunState.STOPPED || state === RunState.FAILED;
}
