import { BUCKETS, openKv } from '@parley/bus';
import type { Bus, KvTable } from '@parley/bus';
import { RunSchema } from '@parley/contracts';
import type { Run } from '@parley/contracts';
import type { Recipe } from '@parley/pst';
import { ParleyError } from '@parley/runtime';
import { recipeFromMessage } from './recipe-codec.js';

/** The bucket of runs by id. */
export function openRuns(bus: Bus): Promise<KvTable<typeof RunSchema>> {
  return openKv(bus, BUCKETS.runs, RunSchema);
}

/** A run's specification in the form the algorithm takes. */
export interface RunFacts {
  peers: string[];
  recipe: Recipe;
  seed: bigint;
}

/** @throws ParleyError REQUEST_INVALID for a run without specification, RECIPE_INVALID for one that cannot run */
export function runFacts(run: Run): RunFacts {
  if (run.spec === undefined) throw new ParleyError('REQUEST_INVALID', `Run ${run.runId} has no spec`);
  const { peers, recipe, seed } = run.spec;
  return { peers, recipe: recipeFromMessage(recipe, peers.length), seed };
}
