import { STREAMS, filters, readLastPermitted, subjects } from '@parley/bus';
import type { BlobStore, Bus, Publisher } from '@parley/bus';
import { VersionCommittedSchema } from '@parley/contracts';
import type { VersionCommitted } from '@parley/contracts';

/** A peer's committed versions on the bus, each under a subject of its own. */
export interface VersionLog {
  /** Publishes a version; one that is there already counts as published. @throws ParleyError BUS_UNAVAILABLE */
  publish(committed: VersionCommitted): Promise<void>;
  /** What was published for a version; `undefined` if nothing was, or the stream no longer has it. */
  find(version: number): Promise<VersionCommitted | undefined>;
  /** The version that was published last. */
  last(): Promise<VersionCommitted | undefined>;
}

/** The version log of one peer in JetStream. */
export function createVersionLog(peer: string, bus: Bus, publisher: Publisher, blobs: BlobStore): VersionLog {
  const read = async (subject: string) => {
    const found = await readLastPermitted(bus, {
      stream: STREAMS.versions,
      schema: VersionCommittedSchema,
      blobs,
      subject,
    });
    return found?.message;
  };
  return {
    async publish(committed) {
      const { version } = committed;
      const options = { subject: subjects.version(peer, version), id: `${peer}/${version}` };
      await publisher.publishOnce(VersionCommittedSchema, committed, options);
    },
    find: (version) => read(subjects.version(peer, version)),
    last: () => read(filters.versions(peer)),
  };
}
