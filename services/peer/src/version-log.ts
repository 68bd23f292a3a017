import type { VersionCommitted } from '@parley/contracts';

/** A peer's committed versions on the bus, each under a subject of its own. */
export interface VersionLog {
  /** Publishes a version; one that is there already counts as published. @throws ParleyError BUS_UNAVAILABLE */
  publish(committed: VersionCommitted): Promise<void>;
  /** What was published for a version; `undefined` if nothing was, or the stream no longer has it. */
  find(version: number): Promise<VersionCommitted | undefined>;
}
