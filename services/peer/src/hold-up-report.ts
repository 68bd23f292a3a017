import { subjects } from '@parley/bus';
import type { Publisher } from '@parley/bus';
import { PeerAvailabilitySchema } from '@parley/contracts';
import type { WeightedUpdate } from '@parley/contracts';
import { ParleyError } from '@parley/runtime';
import type { Log } from '@parley/runtime';

/** Tells a run why it waits for this peer, although the peer answers. */
export interface HoldUpReport {
  /** An update could not be applied, and comes again. */
  failed(update: WeightedUpdate, error: unknown): Promise<void>;
  /** It was applied. */
  applied(update: WeightedUpdate): Promise<void>;
}

/** What happens once may be a passing trouble that nobody needs to hear of. */
const FAILURES_BEFORE_TOLD = 2;

/**
 * Publishes `PeerAvailability` with phase `apply` when an update fails again and again (a full disk, a defect), and once
 * more when it has gone through. Never throws: the report is not worth an update.
 */
export function createHoldUpReport(peer: string, publisher: Publisher, log: Log): HoldUpReport {
  let failing: { updateId: string; failures: number } | undefined;
  const tell = async ({ runId, updateId }: WeightedUpdate, available: boolean, error?: unknown) => {
    const event = { runId, peer, available, phase: 'apply', ...(!available && { cause: causeOf(error) }) };
    const id = `${updateId}/${available ? 'applied' : 'held-up'}`;
    const options = { subject: subjects.event(runId, 'peer', `peer-${peer}`), id, deadlineMs: 5000 };
    await publisher.append(PeerAvailabilitySchema, event, options).catch((failure: unknown) => {
      log.warn({ err: failure, updateId }, 'the run was not told why it waits');
    });
  };
  return {
    async failed(update, error) {
      const { updateId } = update;
      const failures = failing?.updateId === updateId ? failing.failures + 1 : 1;
      failing = { updateId, failures };
      if (failures === FAILURES_BEFORE_TOLD) await tell(update, false, error);
    },
    async applied(update) {
      const told = failing?.updateId === update.updateId && failing.failures >= FAILURES_BEFORE_TOLD;
      failing = undefined;
      if (told) await tell(update, true);
    },
  };
}

function causeOf(error: unknown): { reason: string; message: string } {
  const { reason, message } = ParleyError.from(error);
  return { reason, message };
}
