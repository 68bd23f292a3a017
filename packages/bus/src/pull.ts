import { createInbox, nanos } from '@nats-io/transport-node';
import type { Msg } from '@nats-io/transport-node';
import { ParleyError, deferred, withDeadline } from '@parley/runtime';
import { busError } from './bus-error.js';
import type { Bus } from './connect.js';
import { deliveredMessage } from './delivered.js';
import type { DeliveredMessage } from './delivered.js';

/** One request for messages of a pull consumer. */
export interface PullRequest {
  stream: string;
  consumer: string;
  /** Most messages wanted. */
  batch: number;
  /** Milliseconds the server holds the request open while it has fewer. */
  expiresMs: number;
  /** Ends the pull. */
  signal: AbortSignal;
  /** Whether messages that nobody took are given back at once, as a consumer with acknowledgements needs. */
  acknowledged: boolean;
}

/**
 * One pull of a JetStream consumer, yielded as it arrives. It ends when the batch is complete, when the server has
 * no more within `expiresMs`, or when the signal is aborted. Our own, because the client library's loops stall for
 * tens of seconds, or end without a word, when the server restarts at the wrong moment.
 *
 * @throws ParleyError BUS_UNAVAILABLE when the connection or the server is lost meanwhile, STREAM_MISSING when the
 *   consumer is gone
 */
export async function* pull(bus: Bus, request: PullRequest): AsyncGenerator<DeliveredMessage> {
  const queue = createQueue();
  const inbox = createInbox(bus.inboxPrefix);
  const what = `pulling from ${request.stream} as ${request.consumer}`;
  const fail = (text: string) => queue.end(busError(new Error(text), what));
  const subscription = bus.connection.subscribe(inbox, {
    callback: (error, message) => {
      if (error) queue.end(busError(error, what));
      else receive(bus, request, queue, message, what);
    },
  });
  const watchdog = setTimeout(
    () => fail('the server let the request lapse'),
    request.expiresMs + bus.requestTimeoutMs,
  );
  const offInterruption = bus.onInterruption(() => fail('the connection was interrupted'));
  const abort = () => queue.end();
  request.signal.addEventListener('abort', abort, { once: true });
  try {
    if (request.signal.aborted) return;
    const body = { batch: request.batch, expires: nanos(request.expiresMs) };
    const subject = `$JS.API.CONSUMER.MSG.NEXT.${request.stream}.${request.consumer}`;
    bus.connection.publish(subject, JSON.stringify(body), { reply: inbox });
    for (let left = request.batch; left > 0; left--) {
      const next = await queue.take();
      if (next === undefined) return;
      yield next;
    }
  } finally {
    clearTimeout(watchdog);
    offInterruption();
    request.signal.removeEventListener('abort', abort);
    if (request.acknowledged) await giveBack(bus, queue, subscription);
    else subscription.unsubscribe();
  }
}

/** Draining the subscription hears what was already on its way, so that it can be redelivered at once. */
async function giveBack(
  bus: Bus,
  queue: MessageQueue,
  subscription: { drain(): Promise<void> },
): Promise<void> {
  for (const message of queue.rest()) message.nak();
  if (bus.connection.isClosed()) return;
  const draining = withDeadline({ deadlineMs: 1000, what: 'draining a pull' }, () => subscription.drain());
  await draining.catch((error: unknown) => bus.log.debug({ err: error }, 'a pull was not drained'));
  for (const message of queue.rest()) message.nak();
}

const NO_MESSAGES = 404;
const EXPIRED = 408;
const CONFLICT = 409;
const NO_RESPONDERS = 503;

function receive(bus: Bus, request: PullRequest, queue: MessageQueue, message: Msg, what: string): void {
  const status = message.data.length === 0 ? (message.headers?.code ?? 0) : 0;
  if (status === 0) {
    queue.push(deliveredMessage(bus, message));
  } else if (status === NO_MESSAGES || status === EXPIRED) {
    queue.end();
  } else if (status === CONFLICT && /deleted/i.test(message.headers?.description ?? '')) {
    const text = `The consumer ${request.consumer} of ${request.stream} was deleted`;
    queue.end(new ParleyError('STREAM_MISSING', text, { details: { what } }));
  } else if (status === NO_RESPONDERS || status >= 400) {
    queue.end(busError(new Error(`status ${status} ${message.headers?.description ?? ''}`), what));
  }
}

interface MessageQueue {
  push(message: DeliveredMessage): void;
  end(error?: ParleyError): void;
  /** The next message, or `undefined` at the end. */
  take(): Promise<DeliveredMessage | undefined>;
  /** Takes what is left without waiting. */
  rest(): DeliveredMessage[];
}

function createQueue(): MessageQueue {
  const messages: DeliveredMessage[] = [];
  let ended: { error?: ParleyError } | undefined;
  let wake = deferred<void>();
  return {
    push(message) {
      messages.push(message);
      wake.resolve();
    },
    end(error) {
      ended ??= error ? { error } : {};
      wake.resolve();
    },
    async take() {
      while (messages.length === 0 && ended === undefined) {
        await wake.promise;
        wake = deferred();
      }
      const message = messages.shift();
      if (message === undefined && ended?.error) throw ended.error;
      return message;
    },
    rest: () => messages.splice(0),
  };
}
