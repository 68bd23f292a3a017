import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import {
  ParleyError,
  SpanKind,
  backoffMs,
  inSpan,
  isRetryable,
  onCollect,
  pause,
  startTimer,
  withDeadline,
} from '@parley/runtime';
import type { BlobReader } from './blobs.js';
import { busError } from './bus-error.js';
import { decodeMessage } from './cloud-event.js';
import type { Received } from './cloud-event.js';
import type { Bus } from './connect.js';
import type { DeliveredMessage } from './delivered.js';
import { ensureConsumer } from './consumer.js';
import type { DurableSpec } from './consumer.js';
import { pull } from './pull.js';

/** A message as delivered to a handler. */
export interface Delivery<T> extends Received<T> {
  /**
   * How often it was delivered, this time included: above 1, earlier work on it may or may not have taken effect. A
   * crash of nats-server can lose its latest acknowledgements and counts: 1 is no proof that there was no earlier work.
   */
  readonly deliveryCount: number;
}

/** How a stream is consumed. */
export interface ConsumeOptions<S extends DescMessage> extends DurableSpec {
  schema: S;
  blobs: BlobReader;
  /** Messages handled at once; 1, and so strictly in order, unless given. */
  concurrency?: number;
  /** Bounds of the pause before a failed message is tried again; 250 ms growing to 30 s unless given. */
  backoff?: { baseMs: number; maxMs: number };
  /**
   * Deliveries after which a message that keeps failing counts as poison; without limit unless given. UNAVAILABLE never
   * does: it says that something else is away, however long, and nothing about the message.
   */
  maxDeliveries?: number;
  /**
   * Told of a message that will never succeed (it cannot be decoded, the handler refused it with a final error, or it
   * failed `maxDeliveries` times) before it is removed. Record it: afterwards nothing else remembers it. While this
   * fails, the message stays.
   */
  onPoison: (poison: Poison) => Promise<void>;
  random?: () => number;
}

/** A message that will never succeed. */
export interface Poison {
  readonly subject: string;
  readonly sequence: number;
  readonly deliveryCount: number;
  readonly error: ParleyError;
}

/** Handles one message. It is acknowledged once the promise resolves; it may be delivered again at any time before. */
export type Handler<T> = (delivery: Delivery<T>, signal: AbortSignal) => Promise<void>;

/** A running consumer. */
export interface Consumption extends AsyncDisposable {
  /**
   * Resolves after a drain or close; rejects with the failure that ended consumption otherwise (a handler's failure
   * never does). Never ignored silently: an unobserved rejection ends the process.
   */
  readonly done: Promise<void>;
  /** Pulls no more and finishes what is in flight; past the deadline its signal is aborted and it is given back. */
  drain(deadlineMs: number): Promise<void>;
}

/**
 * Consumes a stream with a durable pull consumer, created if missing. While a handler runs, the server is told so
 * every third of the acknowledgement time. A handler's retryable failure brings the message back after a growing pause; a
 * final one makes it poison. Restarts of nats-server are waited out.
 *
 * @throws ParleyError STREAM_CONFLICT, STREAM_MISSING or BUS_UNAVAILABLE when the consumer cannot be created
 */
export async function consume<S extends DescMessage>(
  bus: Bus,
  options: ConsumeOptions<S>,
  handler: Handler<MessageShape<S>>,
): Promise<Consumption> {
  const { concurrency = 1 } = options;
  await ensureConsumer(bus, options);
  showLag(bus, options);
  const stopPulling = new AbortController();
  const abandon = new AbortController();
  const process = createProcessor(bus, options, handler, abandon.signal);
  const workers = Array.from({ length: concurrency }, () => work(bus, options, process, stopPulling.signal));
  const stop = (error?: unknown) => stopPulling.abort(error);
  const done = Promise.all(workers).then(
    () => undefined,
    async (error: unknown) => {
      stop(error);
      await Promise.allSettled(workers);
      throw error;
    },
  );
  const drain = async (deadlineMs: number) => {
    stop();
    const what = `draining the consumer ${options.durable} of ${options.stream}`;
    await withDeadline({ deadlineMs, what }, () => done).catch(async (error: unknown) => {
      bus.log.warn({ err: error, durable: options.durable }, 'work in flight is given back');
      abandon.abort(error);
      const grace = withDeadline({ deadlineMs: GRACE_MS, what }, () => Promise.allSettled(workers));
      await grace.catch(() =>
        bus.log.error({ durable: options.durable }, 'a handler ignores its signal; leaving it'),
      );
    });
  };
  return { done, drain, [Symbol.asyncDispose]: () => drain(0) };
}

/** Asks for the lag when the metrics are shown: what waits, and what is under way anywhere. */
function showLag(bus: Bus, { stream, durable }: DurableSpec): void {
  onCollect(bus.metrics.lag, bus.log, async (gauge) => {
    const { num_pending, num_ack_pending } = await bus.jsm.consumers.info(stream, durable);
    gauge.set({ consumer: durable }, num_pending + num_ack_pending);
  });
}

const PULL_EXPIRES_MS = 2000;

/** Time that a handler has to heed its signal after a drain ran out. */
const GRACE_MS = 1500;

/** Takes messages one by one until stopped. Any failure to pull is waited out; only a closed connection is final. */
async function work(
  bus: Bus,
  spec: DurableSpec,
  process: (message: DeliveredMessage) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const request = {
    stream: spec.stream,
    consumer: spec.durable,
    batch: 1,
    expiresMs: PULL_EXPIRES_MS,
    acknowledged: true,
    signal,
  };
  for (let failures = 0; !signal.aborted;) {
    if (bus.connection.isClosed()) throw closedError(spec);
    try {
      for await (const message of pull(bus, request)) await process(message);
      failures = 0;
    } catch (thrown) {
      const error = busError(thrown, `consuming ${spec.stream} as ${spec.durable}`);
      const delayMs = backoffMs(++failures, { baseMs: 100, maxMs: 5000 });
      bus.log.warn({ reason: error.reason, delayMs, failures }, error.message);
      await pause(delayMs, signal);
      if (error.reason === 'STREAM_MISSING' && !signal.aborted) await recreate(bus, spec);
    }
  }
}

async function recreate(bus: Bus, spec: DurableSpec): Promise<void> {
  try {
    await ensureConsumer(bus, spec);
    bus.log.warn({ durable: spec.durable, stream: spec.stream }, 'the consumer was gone; created it anew');
  } catch (error) {
    bus.log.error({ err: error }, 'the consumer is gone and cannot be created; trying again');
  }
}

function closedError({ stream, durable }: DurableSpec): ParleyError {
  return new ParleyError(
    'BUS_UNAVAILABLE',
    `The NATS connection was closed while consuming ${stream} as ${durable}`,
  );
}

/** Handles one delivered message from its decoding to its acknowledgement. Never rejects. */
function createProcessor<S extends DescMessage>(
  bus: Bus,
  options: ConsumeOptions<S>,
  handler: Handler<MessageShape<S>>,
  signal: AbortSignal,
): (message: DeliveredMessage) => Promise<void> {
  const inFlight = new Set<number>();
  const { ackWaitMs = 10_000, maxDeliveries = Infinity } = options;
  const { durable: consumer, stream } = options;
  const handle = async (message: DeliveredMessage) => {
    const received = await decodeMessage(options.schema, message, options.blobs);
    const { headers, subject, id } = received;
    const work = () => handler({ ...received, deliveryCount: message.deliveryCount }, signal);
    if (headers['traceparent'] === undefined) return work();
    const attributes = {
      'messaging.system': 'nats',
      'messaging.operation.type': 'process',
      'messaging.destination.name': subject,
      'messaging.consumer.group.name': consumer,
      'messaging.message.id': id,
    };
    return inSpan(`process ${stream}`, { kind: SpanKind.CONSUMER, attributes, parent: headers }, work);
  };
  /** @returns what became of it */
  const settle = async (message: DeliveredMessage, thrown: unknown): Promise<'retried' | 'poison'> => {
    const { deliveryCount } = message;
    const error = ParleyError.from(thrown);
    const facts = {
      subject: message.subject,
      sequence: message.sequence,
      deliveryCount,
      reason: error.reason,
    };
    const innocent = signal.aborted || error.code === 'UNAVAILABLE';
    if (isRetryable(thrown) && (innocent || deliveryCount < maxDeliveries)) {
      const delayMs = signal.aborted ? 0 : nakDelayMs(options, deliveryCount);
      bus.log.warn({ ...facts, delayMs, err: thrown }, 'handling failed; the message comes back');
      message.nak(delayMs);
      return 'retried';
    }
    bus.log.error({ ...facts, err: thrown }, 'handling failed for good; the message is poison');
    await options.onPoison({ subject: message.subject, sequence: message.sequence, deliveryCount, error });
    message.term();
    return 'poison';
  };
  return async (message) => {
    if (inFlight.has(message.sequence)) return;
    inFlight.add(message.sequence);
    const heartbeat = setInterval(() => message.working(), ackWaitMs / 3);
    const timer = startTimer();
    const measure = (outcome: string) => bus.metrics.handle.observe({ consumer, outcome }, timer());
    try {
      await handle(message);
      measure('done');
      await acknowledge(bus, message);
    } catch (thrown) {
      await settle(message, thrown).then(measure, (error: unknown) => {
        measure('retried');
        bus.log.error(
          { err: error, sequence: message.sequence },
          'poison could not be recorded; it comes back',
        );
        message.nak(nakDelayMs(options, message.deliveryCount));
      });
    } finally {
      clearInterval(heartbeat);
      inFlight.delete(message.sequence);
    }
  };
}

function nakDelayMs(
  options: Pick<ConsumeOptions<DescMessage>, 'backoff' | 'random'>,
  deliveryCount: number,
): number {
  const { backoff = { baseMs: 250, maxMs: 30_000 }, random } = options;
  return Math.ceil(backoffMs(deliveryCount, { ...backoff, ...(random && { random }) }));
}

/** A lost acknowledgement only means that the message comes again, to a handler that must bear it. */
async function acknowledge(bus: Bus, message: DeliveredMessage): Promise<void> {
  try {
    await message.ack();
  } catch (error) {
    const { subject, sequence } = message;
    bus.log.warn(
      { subject, sequence, err: error },
      'acknowledgement not confirmed; the message may come again',
    );
  }
}
