import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import { lastSequence, readFrom } from '@parley/bus';
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

/**
 * Shows every message to `see`, in order, once. What cannot be decoded is logged and passed over: peers write to these streams, and
 * none of them may end the coordinator.
 */
export async function follow<S extends DescMessage>(
  bus: Bus,
  options: FollowOptions<S>,
  see: (received: Received<MessageShape<S>>) => void,
): Promise<Following> {
  const { stream, schema, filter, blobs, signal, fail } = options;
  const last = () => lastSequence(bus, stream, filter);
  let position = options.from === 'start' ? 0 : await last();
  const changes = createChanges();
  const run = async (): Promise<void> => {
    const read = { stream, schema, filter, blobs, fromSequence: position + 1, live: true, signal };
    const passed = (sequence: number) => {
      position = sequence;
      changes.notify();
    };
    const onInvalid = (err: unknown, { subject, sequence }: { subject: string; sequence: number }) => {
      bus.log.error({ err, stream, subject, sequence }, 'a message cannot be decoded; passed over');
      passed(sequence);
    };
    for await (const received of readFrom(bus, { ...read, onInvalid })) {
      see(received);
      passed(received.sequence);
    }
  };
  run().catch((error: unknown) => {
    if (!signal.aborted) fail(error);
  });
  return {
    async settled(waitSignal) {
      const target = await last();
      await changes.until(() => position >= target, waitSignal);
    },
  };
}
