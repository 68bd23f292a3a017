import type { MessageInitShape } from '@bufbuild/protobuf';
import type { GenerateItemSchema, PeerService, SamplingSchema } from '@parley/contracts';
import type { Completion, ItemFailure } from '@parley/contracts';
import { ParleyError, isRetryable, retry } from '@parley/runtime';
import type { Client } from '@parley/runtime';

/** A peer that can be asked. */
export interface AskedPeer {
  name: string;
  client: Pick<Client<typeof PeerService>, 'generate' | 'describe' | 'score'>;
}

/** What came back for one item. */
export type Answer = { ok: true; completion: Completion } | { ok: false; failure: ItemFailure };

/** What a peer is asked. */
export interface AskOptions {
  peer: AskedPeer;
  /** Item ids are unique. */
  items: readonly MessageInitShape<typeof GenerateItemSchema>[];
  sampling: MessageInitShape<typeof SamplingSchema>;
  /** For the peer's log. */
  requestId: string;
  /** For one call. */
  deadlineMs: number;
  signal: AbortSignal;
  /** Called once for every item that is answered. */
  onAnswer: () => void;
}

const ATTEMPTS = 5;
/** Items of one call: enough for the peer to fill its batches, few enough for any message limit. */
const ITEMS_PER_CALL = 2000;

/** The answers to all items, and the version that gave them. */
export interface Answers {
  /** By item id. */
  answers: ReadonlyMap<string, Answer>;
  version: bigint;
}

/**
 * Asks one peer many things through `Generate`. A stream that breaks is repeated with the items that are missing.
 *
 * @throws ParleyError what the peer says; REMOTE_FAILURE if it breaks its contract; VERSION_MISMATCH if its weights
 *   changed meanwhile, since such a measurement is of no version
 */
export async function askPeer(options: AskOptions): Promise<Answers> {
  const answers = new Map<string, Answer>();
  const versions = new Set<bigint>();
  for (let start = 0; start < options.items.length; start += ITEMS_PER_CALL) {
    const part = options.items.slice(start, start + ITEMS_PER_CALL);
    await retry({ attempts: ATTEMPTS, baseMs: 200, maxMs: 2000, signal: options.signal, shouldRetry }, () =>
      askOnce(
        options,
        part.filter(({ itemId }) => !answers.has(itemId ?? '')),
        answers,
        versions,
      ),
    );
  }
  return { answers, version: requireOneVersion(options.peer.name, versions) };
}

/** The version that gave all answers; 0 if there are none. @throws ParleyError VERSION_MISMATCH if there are several */
export function requireOneVersion(peer: string, versions: Iterable<bigint>): bigint {
  const [version = 0n, ...others] = new Set(versions);
  if (others.length === 0) return version;
  throw new ParleyError(
    'VERSION_MISMATCH',
    `${peer} changed from version ${[version, ...others].join(' to ')} while it was measured; ` +
      'measure it while no run trains it',
  );
}

/** A peer with too much work says so; waiting for it is right. A peer that is gone for good ends the attempts. */
export function shouldRetry(error: unknown): boolean {
  return isRetryable(error) && ParleyError.from(error).code !== 'CANCELLED';
}

async function askOnce(
  { peer, sampling, requestId, deadlineMs, signal, onAnswer }: AskOptions,
  items: readonly MessageInitShape<typeof GenerateItemSchema>[],
  answers: Map<string, Answer>,
  versions: Set<bigint>,
): Promise<void> {
  const missing = new Set(items.map(({ itemId }) => itemId));
  if (missing.size === 0) return;
  const request = { requestId, items: [...items], sampling };
  for await (const response of peer.client.generate(request, { deadlineMs, signal })) {
    const { itemId, version, outcome } = response;
    if (outcome.case === undefined || !missing.delete(itemId)) {
      throw brokenContract(peer.name, `answered item "${itemId}" without an outcome, twice or unasked`);
    }
    versions.add(version);
    const isCompletion = outcome.case === 'completion';
    answers.set(
      itemId,
      isCompletion ? { ok: true, completion: outcome.value } : { ok: false, failure: outcome.value },
    );
    onAnswer();
  }
  if (missing.size > 0)
    throw brokenContract(peer.name, `left ${missing.size} of ${items.length} items unanswered`);
}

/** REMOTE_FAILURE that names the peer. */
export function brokenContract(peer: string, what: string): ParleyError {
  return new ParleyError('REMOTE_FAILURE', `Peer ${peer} ${what}; it does not keep to parley.v1.PeerService`);
}
