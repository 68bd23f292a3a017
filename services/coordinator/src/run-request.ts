import type { CreateRunRequest, Prompt, RunSpec } from '@parley/contracts';
import { recipeFromMessage } from '@parley/mesh';
import { ParleyError } from '@parley/runtime';

const ID = /^[A-Za-z0-9_-]{1,64}$/;
/** Longest question, in UTF-16 code units: far beyond any model's context, far below the limit of a message. */
const MAX_QUESTION_CHARS = 100_000;
const MAX_PROMPT_ID_CHARS = 128;

/** @throws ParleyError NAME_INVALID */
export function checkRunId(runId: string): string {
  if (ID.test(runId)) return runId;
  const message = `Run id ${JSON.stringify(runId)} is not 1 to 64 letters, digits, "-" or "_"; choose another request_id`;
  throw new ParleyError('NAME_INVALID', message, { details: { run_id: runId } });
}

/**
 * What a request for a run says about itself, checked without looking at the mesh.
 *
 * @throws ParleyError NAME_INVALID, REQUEST_INVALID (peers missing, too few or named twice), or RECIPE_INVALID with all
 *   problems of the recipe
 */
export function checkRunRequest({ requestId, spec }: CreateRunRequest): RunSpec {
  checkRunId(requestId);
  if (spec === undefined) throw invalid('spec is missing; say which peers are to run which recipe');
  const { peers, recipe } = spec;
  const twice = peers.filter((peer, index) => peers.indexOf(peer) !== index);
  if (twice.length > 0) throw invalid(`spec.peers names ${[...new Set(twice)].join(', ')} more than once`);
  const malformed = peers.filter((peer) => !ID.test(peer));
  if (malformed.length > 0) {
    throw new ParleyError(
      'NAME_INVALID',
      `spec.peers holds ${malformed.map((peer) => JSON.stringify(peer)).join(', ')}; a peer's name is 1 to 64 letters, digits, "-" or "_"`,
    );
  }
  if (peers.length < 2)
    throw invalid(`spec.peers names ${peers.length} peers; at least two can train one another`);
  recipeFromMessage(recipe, peers.length);
  return spec;
}

/** @throws ParleyError REQUEST_INVALID naming the index of the first prompt that cannot be asked */
export function checkPrompts(prompts: readonly Prompt[]): void {
  prompts.forEach(({ promptId, question }, index) => {
    const refuse = (what: string) => invalid(`prompts[${index}] ${what}`, { index: String(index) });
    if (promptId === '') throw refuse('has no prompt_id; give each prompt an id of its own in the run');
    if (promptId.length > MAX_PROMPT_ID_CHARS || /\s/.test(promptId)) {
      throw refuse(`has a prompt_id with white space or of more than ${MAX_PROMPT_ID_CHARS} characters`);
    }
    if (question.trim() === '') throw refuse(`("${promptId}") has an empty question; leave it out`);
    if (question.length > MAX_QUESTION_CHARS) {
      throw refuse(
        `("${promptId}") has ${question.length} characters; at most ${MAX_QUESTION_CHARS} are taken`,
      );
    }
  });
}

function invalid(message: string, details: Record<string, string> = {}): ParleyError {
  return new ParleyError('REQUEST_INVALID', message, { details });
}
