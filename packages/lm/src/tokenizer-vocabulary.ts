import { invalid, isRecord, own, text } from './tokenizer-rules.js';
import type { RuleContext } from './tokenizer-rules.js';

/** The tokens of a tokenizer.json, checked. */
export interface Vocabulary {
  /** Id by token, added ones included. */
  readonly tokens: ReadonlyMap<string, number>;
  /** One more than the highest id. */
  readonly size: number;
}

type Document = Readonly<Record<string, unknown>>;

/**
 * Checks `model.vocab` and `added_tokens`: ids are whole numbers, each given once, and at least half of those below the
 * highest are in use (an id of four thousand million would make a table of that size).
 * @throws LmError `TOKENIZER_INVALID` naming the field.
 */
export function checkVocabulary(document: Document, model: Document, context: RuleContext): Vocabulary {
  const isScored = model['type'] === 'Unigram';
  const entries = isScored ? scoredEntries(model, context) : mapEntries(model, context);
  const added = own(document, 'added_tokens') ?? [];
  if (!Array.isArray(added)) throw invalid(context, 'added_tokens', added, 'a list');
  const limit = 2 * (entries.length + added.length) + 1000;
  const ids = createIds(limit, context);
  const tokens = new Map<string, number>();
  for (const [token, id] of entries) {
    ids.take(id, `model.vocab.${token.slice(0, 100)}`);
    tokens.set(token, id as number);
  }
  added.forEach((token: unknown, i) => addToken(token, `added_tokens[${i}]`, tokens, ids, context));
  return { tokens, size: ids.size() };
}

function mapEntries(model: Document, context: RuleContext): [string, unknown][] {
  const vocab = own(model, 'vocab');
  if (!isRecord(vocab)) throw invalid(context, 'model.vocab', vocab, 'an object of tokens and their ids');
  const entries = Object.entries(vocab);
  if (entries.length === 0) throw invalid(context, 'model.vocab', vocab, 'at least one token');
  return entries;
}

function scoredEntries(model: Document, context: RuleContext): [string, unknown][] {
  const vocab = own(model, 'vocab');
  if (!Array.isArray(vocab) || vocab.length === 0)
    throw invalid(context, 'model.vocab', vocab, 'a list of at least one token with its score');
  return vocab.map((entry: unknown, id) => {
    const isPair = Array.isArray(entry) && entry.length === 2;
    if (!isPair || typeof entry[0] !== 'string' || !Number.isFinite(entry[1]))
      throw invalid(context, `model.vocab[${id}]`, entry, 'a token and its score');
    return [entry[0], id];
  });
}

interface Ids {
  take(id: unknown, at: string): void;
  size(): number;
}

function createIds(limit: number, context: RuleContext): Ids {
  const taken = new Uint8Array(limit);
  let size = 0;
  return {
    take(id, at) {
      const isId = Number.isSafeInteger(id) && (id as number) >= 0 && (id as number) < limit;
      if (!isId)
        throw invalid(
          context,
          at,
          id,
          `an id from 0 to ${limit - 1}, as there are ${(limit - 1000) / 2} tokens`,
        );
      if (taken[id as number] === 1) throw invalid(context, at, id, 'an id that no other token has');
      taken[id as number] = 1;
      size = Math.max(size, (id as number) + 1);
    },
    size: () => size,
  };
}

function addToken(
  token: unknown,
  at: string,
  tokens: Map<string, number>,
  ids: Ids,
  context: RuleContext,
): void {
  if (!isRecord(token)) throw invalid(context, at, token, 'an object');
  const content = own(token, 'content');
  if (typeof content !== 'string' || content === '')
    throw invalid(context, `${at}.content`, content, 'a string that is not empty');
  for (const key of ['single_word', 'lstrip', 'rstrip', 'normalized', 'special']) {
    const value = own(token, key);
    if (value !== undefined && typeof value !== 'boolean')
      throw invalid(context, `${at}.${key}`, value, 'true or false');
  }
  const id = own(token, 'id');
  const known = tokens.get(content);
  if (known === undefined) {
    ids.take(id, `${at}.id`);
    tokens.set(content, id as number);
  } else if (id !== known)
    throw invalid(context, `${at}.id`, id, `${known}, the id of the same token in "model.vocab"`);
}

/**
 * Checks `model.merges`: all "a b" or all ["a", "b"], with a, b and ab in the vocabulary.
 * @throws LmError `TOKENIZER_INVALID` naming the merge.
 */
export function checkMerges(model: Document, context: RuleContext): void {
  const vocab = own(model, 'vocab') as Record<string, unknown>;
  const merges = own(model, 'merges');
  if (!Array.isArray(merges)) throw invalid(context, 'model.merges', merges, 'a list');
  const arePairs = Array.isArray(merges[0]);
  merges.forEach((merge: unknown, i) => {
    const refuse = (expected: string): Error => invalid(context, `model.merges[${i}]`, merge, expected);
    if (Array.isArray(merge) !== arePairs) throw refuse('the same form as the merges before it');
    if (!arePairs) text(merge, `model.merges[${i}]`, context);
    const parts = arePairs ? (merge as unknown[]) : (merge as string).split(' ');
    if (parts.length !== 2 || !parts.every((part) => typeof part === 'string' && part !== ''))
      throw refuse('two tokens');
    const [left, right] = parts as string[];
    for (const token of [left, right, left + right])
      if (!Object.hasOwn(vocab, token))
        throw refuse(`tokens of "model.vocab", which lacks ${JSON.stringify(token.slice(0, 100))}`);
  });
}
