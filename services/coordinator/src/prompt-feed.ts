import { STREAMS, readFrom, subjects } from '@parley/bus';
import type { BlobReader, Bus } from '@parley/bus';
import { PromptEventSchema } from '@parley/contracts';
import { createChanges } from './changes.js';
import type { QueuedPrompt } from './round-draft.js';

/** The prompts of one run in the order of the stream. */
export interface PromptFeed {
  /**
   * The next prompts. Waits until there are `count`, or until no more will come; then there may be fewer, or none.
   * Asking again from the same place gives the same prompts.
   *
   * @param after - stream sequence of the last prompt that is used up; never less than in the call before
   * @param index - position in the run of the first one
   * @throws the signal's reason
   */
  take(after: bigint, index: number, count: number, signal: AbortSignal): Promise<QueuedPrompt[]>;
  /**
   * The first prompts of the run, which are in no round. Waits until they are there, or until no more will come; then
   * there may be fewer.
   */
  pool(signal: AbortSignal): Promise<readonly QueuedPrompt[]>;
  /** Prompts that ask what one of the pool asks: they are in no round either. */
  readonly skipped: number;
  /** Prompts read that are not used up yet. */
  readonly waiting: number;
}

/**
 * @param poolSize - how many prompts the monitor pool takes
 * @param fail - told if reading ends for another cause than the signal
 */
export function createPromptFeed(
  bus: Bus,
  blobs: BlobReader,
  runId: string,
  poolSize: number,
  signal: AbortSignal,
  fail: (error: unknown) => void,
): PromptFeed {
  const changes = createChanges();
  let queue: Omit<QueuedPrompt, 'index'>[] = [];
  const pool: QueuedPrompt[] = [];
  const questionsOfPool = new Set<string>();
  let skipped = 0;
  let usedUp = 0n;
  let closed = false;
  let reading = false;
  const take = (next: Omit<QueuedPrompt, 'index'>): void => {
    const question = next.prompt.question.trim();
    if (pool.length < poolSize) {
      pool.push({ ...next, index: pool.length });
      questionsOfPool.add(question);
    } else if (questionsOfPool.has(question)) skipped++;
    else if (next.sequence > usedUp) queue.push(next);
  };
  const read = async (fromSequence: number): Promise<void> => {
    const options = {
      stream: STREAMS.prompts,
      schema: PromptEventSchema,
      filter: subjects.prompts(runId),
      blobs,
    };
    for await (const { message, sequence, headers } of readFrom(bus, {
      ...options,
      fromSequence,
      live: true,
      signal,
    })) {
      const { event } = message;
      if (event.case === 'prompt') take({ prompt: event.value, sequence: BigInt(sequence), trace: headers });
      closed ||= event.case === 'closed';
      changes.notify();
      if (closed) return;
    }
  };
  const begin = (after: bigint): void => {
    if (reading) return;
    reading = true;
    read(poolSize > 0 ? 1 : Number(after) + 1).catch((error: unknown) => {
      if (!signal.aborted) fail(error);
    });
  };
  return {
    get waiting() {
      return queue.length;
    },
    get skipped() {
      return skipped;
    },
    async pool(waitSignal) {
      begin(0n);
      await changes.until(() => closed || pool.length >= poolSize, waitSignal);
      return pool;
    },
    async take(after, index, count, waitSignal) {
      usedUp = after;
      begin(after);
      queue = queue.filter(({ sequence }) => sequence > after);
      await changes.until(() => closed || queue.length >= count, waitSignal);
      return queue.slice(0, count).map((prompt, i) => ({ ...prompt, index: index + i }));
    },
  };
}
