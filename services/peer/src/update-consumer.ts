import { CONSUMERS, consume, subjects } from '@parley/bus';
import type { BlobStore, Bus, Consumption, Poison, Publisher } from '@parley/bus';
import { UpdateRejectedSchema, WeightedUpdateSchema } from '@parley/contracts';
import { ParleyError, isParleyError, isRetryable } from '@parley/runtime';
import type { Log, Reason } from '@parley/runtime';
import { createHoldUpReport } from './hold-up-report.js';
import type { PeerMetrics } from './peer-metrics.js';
import type { ApplyUpdate } from './peer-service.js';

/** What consuming updates needs. */
export interface UpdateConsumerParts {
  peer: string;
  bus: Bus;
  blobs: BlobStore;
  publisher: Publisher;
  applyUpdate: ApplyUpdate;
  metrics: PeerMetrics;
  log: Log;
}

/** Reasons that lie in the update itself: it would fail again, whenever and wherever it is applied. */
const UPDATE_AT_FAULT: readonly Reason[] = [
  'WEIGHT_NOT_FINITE',
  'PROMPT_TOO_LONG',
  'REQUEST_INVALID',
  'TRAINING_DIVERGED',
  'TENSOR_INVALID',
  'TOKENIZER_MISMATCH',
  'CHECKPOINT_INVALID',
];

/**
 * Applies a peer's updates one at a time, in the order of the stream; each is acknowledged after its version is durable and
 * published. An update that can never be applied is recorded as `UpdateRejected` on the events of its run and removed; the
 * weights are unchanged. Any other failure brings the update back, and is told to the run if it lasts.
 *
 * @throws ParleyError STREAM_CONFLICT, STREAM_MISSING, BUS_UNAVAILABLE
 */
export async function consumeUpdates(parts: UpdateConsumerParts): Promise<Consumption> {
  const { peer, bus, blobs, applyUpdate, log } = parts;
  const options = {
    ...CONSUMERS.peer(peer),
    schema: WeightedUpdateSchema,
    blobs,
    backoff: { baseMs: 250, maxMs: 10_000 },
    onPoison: (poison: Poison) => reject(parts, poison),
  };
  const holdUp = createHoldUpReport(peer, parts.publisher, log);
  return consume(bus, options, async ({ message, deliveryCount }, signal) => {
    try {
      const { committed, repeated } = await applyUpdate(message, signal);
      const { updateId, items } = message;
      const { version, report } = committed;
      log.info(
        {
          updateId,
          version,
          items: items.length,
          steps: report?.steps,
          seconds: report?.seconds,
          deliveryCount,
        },
        repeated ? 'update was applied before' : 'update applied',
      );
      await holdUp.applied(message);
    } catch (error) {
      if (isParleyError(error, ...UPDATE_AT_FAULT)) throw error;
      if (!signal.aborted) await holdUp.failed(message, error);
      if (isRetryable(error)) throw error;
      // Not the update's fault (our disk, our streams): removing it would lose it.
      throw new ParleyError('INTERNAL', `Update ${message.updateId} waits: ${(error as Error).message}`, {
        cause: error,
      });
    }
  });
}

async function reject(
  { peer, publisher, metrics, log }: UpdateConsumerParts,
  { subject, error }: Poison,
): Promise<void> {
  const [runId = '', round = ''] = subject.split('.').slice(-2);
  const updateId = `${runId}/${round}/${peer}`;
  const cause = { reason: error.reason, message: error.message };
  const options = { subject: subjects.event(runId, 'rejected', `peer-${peer}`), id: `rejected/${updateId}` };
  await publisher.append(UpdateRejectedSchema, { updateId, runId, peer, cause }, options);
  metrics.rejected.inc({ reason: error.reason });
  log.error({ updateId, reason: error.reason }, 'update refused for good; the weights are unchanged');
}
