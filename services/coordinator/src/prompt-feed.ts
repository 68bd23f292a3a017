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
  /** Prompts read that are not used up yet. */
  readonly waiting: number;
}

/** @param fail - told if reading ends for another cause than the signal */
export function createPromptFeed(
  bus: Bus,
  blobs: BlobReader,
  runId: string,
  signal: AbortSignal,
  fail: (error: unknown) => void,
): PromptFeed {
  const changes = createChanges();
  let queue: Omit<QueuedPrompt, 'index'>[] = [];
  let closed = false;
  let reading = false;
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
      if (event.case === 'prompt')
        queue.push({ prompt: event.value, sequence: BigInt(sequence), trace: headers });
      closed ||= event.case === 'closed';
      changes.notify();
      if (closed) return;
    }
  };
  return {
    get waiting() {
      return queue.length;
    },
    async take(after, index, count, waitSignal) {
      if (!reading) {
        reading = true;
        read(Number(after) + 1).catch((error: unknown) => {
          if (!signal.aborted) fail(error);
        });
      }
      queue = queue.filter(({ sequence }) => sequence > after);
      await changes.until(() => closed || queue.length >= count, waitSignal);
      return queue.slice(0, count).map((prompt, i) => ({ ...prompt, index: index + i }));
    },
  };
}
