import type { Bus } from '@parley/bus';
import { until } from './until.js';

/** The subjects published in a mesh, as they are published: the moment at which a test strikes. */
export interface Sightings extends Disposable {
  /** Resolves when a subject has been published, at once if it was before. */
  of(subject: string, deadlineMs?: number): Promise<void>;
}

/**
 * Watches all of Parley's subjects. A publish is seen as soon as nats-server routes it, which may be before it is
 * stored, so that a kill at that moment falls between the two.
 */
export function watchSubjects(bus: Bus): Sightings {
  const seen = new Set<string>();
  const subscription = bus.connection.subscribe('parley.>', {
    callback: (_, message) => void seen.add(message.subject),
  });
  return {
    of: (subject, deadlineMs = 60_000) =>
      until(`${subject} is published`, async () => seen.has(subject), { deadlineMs, pollMs: 2 }),
    [Symbol.dispose]: () => subscription.unsubscribe(),
  };
}
