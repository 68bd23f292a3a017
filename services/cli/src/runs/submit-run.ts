import { fromJson } from '@bufbuild/protobuf';
import type { JsonValue } from '@bufbuild/protobuf';
import { RecipeSchema } from '@parley/contracts';
import type { CoordinatorService, Run } from '@parley/contracts';
import type { Client } from '@parley/runtime';
import { ParleyError } from '@parley/runtime';
import type { Recipe } from '@parley/pst';

/** A question without its answer. */
export interface Prompt {
  promptId: string;
  question: string;
}

/** What a run is to do. */
export interface RunRequest {
  runId: string;
  title: string;
  /** In the order of answering. */
  peers: readonly string[];
  recipe: Recipe;
  seed: bigint;
  prompts: readonly Prompt[];
}

/** Prompts of one call, well under any message limit. */
const PROMPTS_PER_CALL = 1000;

type Coordinator = Pick<Client<typeof CoordinatorService>, 'createRun' | 'submitPrompts'>;

/** Creates a run and gives it all its prompts. Idempotent by run id. @returns the run as created */
export async function submitRun(client: Coordinator, request: RunRequest, signal: AbortSignal): Promise<Run> {
  const run = await createRun(client, request, signal);
  await submitPrompts(client, request, signal);
  return run;
}

/** Creates a run that waits for its prompts; its peers are wanted from now on. Idempotent by run id. */
export async function createRun(
  client: Pick<Coordinator, 'createRun'>,
  { runId, title, peers, recipe, seed }: RunRequest,
  signal: AbortSignal,
): Promise<Run> {
  const spec = {
    title,
    peers: [...peers],
    seed,
    recipe: fromJson(RecipeSchema, recipe as unknown as JsonValue),
  };
  const { run } = await client.createRun({ requestId: runId, spec }, { signal });
  if (!run) throw new ParleyError('REMOTE_FAILURE', 'The coordinator created a run without saying which');
  return run;
}

/**
 * Gives a run its prompts, the last of them unless `more` will come. Idempotent by their ids.
 */
export async function submitPrompts(
  client: Pick<Coordinator, 'submitPrompts'>,
  { runId, prompts, more = false }: Pick<RunRequest, 'runId' | 'prompts'> & { more?: boolean },
  signal: AbortSignal,
): Promise<void> {
  for (let start = 0; start < prompts.length; start += PROMPTS_PER_CALL) {
    const part = prompts.slice(start, start + PROMPTS_PER_CALL);
    const close = !more && start + PROMPTS_PER_CALL >= prompts.length;
    await client.submitPrompts({ runId, prompts: part, close }, { signal });
  }
}

/** A name for a run that sorts by time and is unique on this machine: `demo-20261123-170500-3f2a`. */
export function newRunId(prefix: string, now: Date, random: () => number): string {
  const digits = now.toISOString().replace(/\D/g, '');
  const suffix = Math.floor(random() * 0x10000)
    .toString(16)
    .padStart(4, '0');
  return `${prefix}-${digits.slice(0, 8)}-${digits.slice(8, 14)}-${suffix}`;
}
