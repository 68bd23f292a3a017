import { create } from '@bufbuild/protobuf';
import { ItemFailureSchema } from '@parley/contracts';
import type { ItemFailure } from '@parley/contracts';
import { ParleyError } from '@parley/runtime';
import { fromLmError } from './lm-failure.js';

/** Most problems that one message lists. */
const MAX_LISTED = 5;

/** An error as the outcome of the one item that it concerns. */
export function toItemFailure(thrown: unknown): ItemFailure {
  const { reason, message } = ParleyError.from(fromLmError(thrown));
  return create(ItemFailureSchema, { reason, message });
}

/** PROMPT_TOO_LONG for an item whose tokens do not fit; `detail` says what they are made of. */
export function tooLong(item: string, tokens: number, contextTokens: number, detail: string): ParleyError {
  return new ParleyError(
    'PROMPT_TOO_LONG',
    `${item} needs ${tokens} tokens (${detail}), but the model's context has ${contextTokens}; shorten it or ask for fewer`,
    { details: { item, tokens: String(tokens), contextTokens: String(contextTokens) } },
  );
}

/** @throws ParleyError REQUEST_INVALID with the problems, if there are any */
export function refuseProblems(what: string, problems: readonly string[]): void {
  if (problems.length === 0) return;
  const more = problems.length > MAX_LISTED ? `; and ${problems.length - MAX_LISTED} more` : '';
  throw new ParleyError('REQUEST_INVALID', `${what}: ${problems.slice(0, MAX_LISTED).join('; ')}${more}`);
}

/** Problems of the ids that name a request's items: none at all, empty ones, ones used twice. */
export function idProblems(items: readonly { readonly itemId: string }[]): string[] {
  if (items.length === 0) return ['there are no items; give at least one'];
  const seen = new Set<string>();
  return items.flatMap(({ itemId }, index) => {
    if (itemId === '') return [`item ${index} has no item_id`];
    if (seen.has(itemId))
      return [`item_id "${itemId}" is used twice (again at index ${index}); each must be unique`];
    seen.add(itemId);
    return [];
  });
}
