import { nanos } from '@nats-io/transport-node';
import type { Msg, MsgHdrs } from '@nats-io/transport-node';
import { ParleyError } from '@parley/runtime';
import type { Bus } from './connect.js';
import type { RawMessage } from './cloud-event.js';

/** A message as a consumer delivered it, with the answers JetStream takes (NATS ADR-13, ADR-15). */
export interface DeliveredMessage extends RawMessage {
  /** 1 at the first delivery. */
  readonly deliveryCount: number;
  /** Matching messages still to be delivered when this one was. */
  readonly pending: number;
  /** Acknowledges, and waits until the server has confirmed it. @throws where it did not within the request timeout */
  ack(): Promise<void>;
  /** Asks for another delivery after `delayMs`. */
  nak(delayMs?: number): void;
  /** Removes the message from the consumer for good. */
  term(): void;
  /** Restarts the acknowledgement timer. */
  working(): void;
}

/**
 * Reads the delivery facts out of the reply subject:
 * `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time ns>.<pending>`, or the longer form with
 * a domain and an account hash before the stream.
 */
export function deliveredMessage(bus: Bus, message: Msg): DeliveredMessage {
  const reply = message.reply ?? '';
  const tokens = reply.split('.');
  const facts = tokens.slice(tokens.length >= 11 ? 6 : 4);
  const [deliveryCount, sequence, , timeNanos, pending] = facts.map(Number);
  if (!reply.startsWith('$JS.ACK.') || deliveryCount === undefined || sequence === undefined) {
    throw new ParleyError(
      'INTERNAL',
      `The message on ${message.subject} was not delivered by JetStream (${reply})`,
    );
  }
  const respond = (answer: string) => {
    if (!bus.connection.isClosed()) bus.connection.publish(reply, answer);
  };
  return {
    subject: message.subject,
    sequence,
    storedTime: new Date((timeNanos ?? 0) / 1_000_000),
    headers: message.headers satisfies MsgHdrs | undefined,
    data: message.data,
    deliveryCount,
    pending: pending ?? 0,
    ack: async () => void (await bus.connection.request(reply, '+ACK', { timeout: bus.requestTimeoutMs })),
    nak: (delayMs = 0) => respond(delayMs > 0 ? `-NAK ${JSON.stringify({ delay: nanos(delayMs) })}` : '-NAK'),
    term: () => respond('+TERM'),
    working: () => respond('+WPI'),
  };
}
