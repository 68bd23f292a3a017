import { AckPolicy, DeliverPolicy } from '@nats-io/jetstream';
import type { ConsumerConfig, ConsumerInfo } from '@nats-io/jetstream';
import { nanos } from '@nats-io/transport-node';
import { ParleyError } from '@parley/runtime';
import { JS_CODES, busError, jetStreamCode } from './bus-error.js';
import type { Bus } from './connect.js';
import { STREAMS, filters, nameToken, peerToken } from './subjects.js';

/** A durable pull consumer: a cursor in a stream that survives everything but its deletion. */
export interface DurableSpec {
  stream: string;
  /** Name of the consumer, shared by all replicas of one service. */
  durable: string;
  /** Subjects it sees, with wildcards. */
  filter: string;
  /** Milliseconds without a sign of life after which a message is delivered to another; 10 000 unless given. */
  ackWaitMs?: number;
  /** Most messages delivered and not acknowledged, over all replicas. */
  maxAckPending: number;
}

/** The durable consumers of a mesh, by which its services share the work. */
export const CONSUMERS = {
  /** Generated rounds, for all replicas of pmi together. */
  pmi: (): DurableSpec => ({
    stream: STREAMS.rounds,
    durable: 'pmi',
    filter: filters.generated(),
    maxAckPending: 256,
  }),
  /** The updates of one peer, strictly in order. */
  peer: (name: string): DurableSpec => ({
    stream: STREAMS.updates,
    durable: peerToken(name),
    filter: filters.updates(name),
    maxAckPending: 1,
  }),
} as const;

/**
 * Creates a durable consumer, or adapts an existing one. Safe to repeat, and from several processes. Where the bus is not
 * to make anything, it must be there, and stays as it is.
 *
 * @throws ParleyError STREAM_CONFLICT when one of this name reads other subjects, STREAM_MISSING
 */
export async function ensureConsumer(bus: Bus, spec: DurableSpec): Promise<ConsumerInfo> {
  const durable = nameToken('consumer name', spec.durable);
  const wanted = {
    durable_name: durable,
    filter_subject: spec.filter,
    ack_policy: AckPolicy.Explicit,
    deliver_policy: DeliverPolicy.All,
    ack_wait: nanos(spec.ackWaitMs ?? 10_000),
    max_ack_pending: spec.maxAckPending,
  } satisfies Partial<ConsumerConfig>;
  const what = `creating the consumer ${durable} of ${spec.stream}`;
  try {
    const found = await findConsumer(bus, spec.stream, durable);
    if (found === undefined && !bus.makesTopology) throw missing(spec);
    if (found === undefined) return await bus.jsm.consumers.add(spec.stream, wanted);
    if (found.config.filter_subject !== spec.filter) throw conflict(spec, found.config.filter_subject ?? '');
    if (!bus.makesTopology) return found;
    const { ack_wait, max_ack_pending } = wanted;
    const same = found.config.ack_wait === ack_wait && found.config.max_ack_pending === max_ack_pending;
    return same ? found : await bus.jsm.consumers.update(spec.stream, durable, { ack_wait, max_ack_pending });
  } catch (error) {
    throw busError(error, what);
  }
}

/** What JetStream knows of a consumer; `undefined` if there is none. */
export async function findConsumer(
  bus: Bus,
  stream: string,
  durable: string,
): Promise<ConsumerInfo | undefined> {
  try {
    return await bus.jsm.consumers.info(stream, durable);
  } catch (error) {
    if (jetStreamCode(error) === JS_CODES.consumerNotFound) return undefined;
    throw error;
  }
}

function missing({ durable, stream }: DurableSpec): ParleyError {
  const message = `The consumer ${durable} of ${stream} is missing, and this service may not make it; run \`parley topology\``;
  return new ParleyError('STREAM_MISSING', message, { details: { durable, stream } });
}

function conflict({ durable, stream, filter }: DurableSpec, found: string): ParleyError {
  const message = `The consumer ${durable} of ${stream} reads ${found}, but ${filter} is wanted; give this one another name or delete that one`;
  return new ParleyError('STREAM_CONFLICT', message, { details: { durable, stream, found, wanted: filter } });
}
