import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import { readFrom, readLast } from '@parley/bus';
import type { BlobReader, Bus, Received, StreamName } from '@parley/bus';
import { createChanges } from './changes.js';

/** What is followed. */
export interface FollowOptions<S extends DescMessage> {
  stream: StreamName;
  schema: S;
  /** Subjects, with wildcards. */
  filter: string;
  blobs: BlobReader;
  /** `start` sees everything the stream holds, `now` only what is new. */
  from: 'start' | 'now';
  signal: AbortSignal;
  /** Told if following ends for another cause than the signal. */
  fail: (error: unknown) => void;
}

/** A stream being followed. */
export interface Following {
  /** Resolves when everything that was durable at the time of the call has been seen. */
  settled(signal: AbortSignal): Promise<void>;
}

/** Shows every message to `see`, in order, once. */
export async function follow<S extends DescMessage>(
  bus: Bus,
  options: FollowOptions<S>,
  see: (received: Received<MessageShape<S>>) => void,
): Promise<Following> {
  const { stream, schema, filter, blobs, signal, fail } = options;
  const lastSequence = async () =>
    (await readLast(bus, { stream, schema, blobs, subject: filter }))?.sequence ?? 0;
  let position = options.from === 'start' ? 0 : await lastSequence();
  const changes = createChanges();
  const run = async (): Promise<void> => {
    const read = { stream, schema, filter, blobs, fromSequence: position + 1, live: true, signal };
    for await (const received of readFrom(bus, read)) {
      see(received);
      position = received.sequence;
      changes.notify();
    }
  };
  run().catch((error: unknown) => {
    if (!signal.aborted) fail(error);
  });
  return {
    async settled(waitSignal) {
      const target = await lastSequence();
      await changes.until(() => position >= target, waitSignal);
    },
  };
}
