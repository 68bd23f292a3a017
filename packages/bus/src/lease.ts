import { Kvm } from '@nats-io/kv';
import type { KV } from '@nats-io/kv';
import { ParleyError, pause, sleep } from '@parley/runtime';
import { JS_CODES, busError, jetStreamCode } from './bus-error.js';
import type { Bus } from './connect.js';
import { persist } from './persist.js';
import { BUCKETS } from './subjects.js';

/** How a lease is taken. */
export interface LeaseOptions {
  /** What is held: a key of tokens separated by dots, `coordinator.<run>`. */
  key: string;
  /** Who holds it, for messages: `coordinator-7f9c`. Unique a process start. */
  holder: string;
  /** Milliseconds to wait for another holder to go; 0 (try once) unless given. */
  waitMs?: number;
  signal?: AbortSignal;
  /** Monotonic milliseconds; `performance.now` unless given. */
  nowMs?: () => number;
}

/** A lease that is held and renewed in the background. At any instant at most one process works under it. */
export interface Lease extends AsyncDisposable {
  /** Aborted with LEASE_LOST the moment the lease may no longer be held; work under it must stop at once. */
  readonly signal: AbortSignal;
  /** Grows with every acquisition: a store that remembers the highest token it saw can refuse a stale holder. */
  readonly fencingToken: number;
  /** Gives the lease up, so that the next holder need not wait for it to expire. Idempotent. */
  release(): Promise<void>;
}

/**
 * Takes a lease in the bucket `parley-leases`, whose entries the server forgets when they are not renewed within the
 * bucket's time to live. The server's clock alone decides; holders only measure how long ago they renewed.
 *
 * @throws ParleyError LEASE_HELD naming the holder, when it is not free within `waitMs`; STREAM_MISSING, BUS_UNAVAILABLE
 */
export async function acquireLease(bus: Bus, options: LeaseOptions): Promise<Lease> {
  const { kv, ttlMs } = await openLeases(bus);
  const nowMs = options.nowMs ?? (() => performance.now());
  const deadline = nowMs() + (options.waitMs ?? 0);
  for (;;) {
    const taken = nowMs();
    const revision = await tryTake(kv, options, bus);
    if (revision !== undefined)
      return hold(bus, kv, { ...options, nowMs, ttlMs, revision, renewedMs: taken });
    if (nowMs() >= deadline) throw await heldError(kv, options, bus);
    await sleep(Math.min(ttlMs / 5, 500), options.signal);
  }
}

async function openLeases(bus: Bus): Promise<{ kv: KV; ttlMs: number }> {
  return persist(
    { what: `opening bucket ${BUCKETS.leases}`, deadlineMs: 3 * bus.requestTimeoutMs },
    async () => {
      const kv = await new Kvm(bus.js).open(BUCKETS.leases, { allow_direct: false });
      return { kv, ttlMs: (await kv.status()).ttl };
    },
  );
}

async function tryTake(kv: KV, { key, holder }: LeaseOptions, bus: Bus): Promise<number | undefined> {
  return persist({ what: `taking the lease ${key}`, deadlineMs: 3 * bus.requestTimeoutMs }, async () => {
    try {
      return await kv.create(key, holder);
    } catch (error) {
      if (!isConflict(error)) throw error;
      const found = await kv.get(key);
      // An attempt whose confirmation was lost may have taken it: the holder's name is ours alone.
      return found?.operation === 'PUT' && found.string() === holder ? found.revision : undefined;
    }
  });
}

interface Held extends LeaseOptions {
  nowMs: () => number;
  ttlMs: number;
  revision: number;
  /** When the last successful renewal was sent. */
  renewedMs: number;
}

function hold(bus: Bus, kv: KV, held: Held): Lease {
  const ended = new AbortController();
  const lost = (why: string, cause?: unknown) => {
    const message = `The lease ${held.key} of ${held.holder} is lost: ${why}`;
    ended.abort(new ParleyError('LEASE_LOST', message, { details: { key: held.key }, cause }));
  };
  let { revision, renewedMs } = held;
  const renew = async () => {
    const sent = held.nowMs();
    try {
      revision = await kv.update(held.key, held.holder, revision);
      renewedMs = sent;
    } catch (error) {
      if (isConflict(error)) await resolveConflict(error, sent);
      else
        bus.log.warn(
          { err: busError(error, `renewing the lease ${held.key}`) },
          'lease not renewed; trying again',
        );
    }
  };
  /** A renewal may have been stored and its confirmation lost: the entry is then ours, at a later revision. */
  const resolveConflict = async (cause: unknown, sent: number) => {
    const found = await kv.get(held.key).catch((error: unknown) => {
      bus.log.warn({ err: busError(error, `reading the lease ${held.key}`) }, 'lease not read; trying again');
      return undefined;
    });
    if (found === undefined) return;
    if (found === null || found.operation !== 'PUT') lost('it expired', cause);
    else if (found.string() !== held.holder) lost(`${found.string()} holds it`, cause);
    else [revision, renewedMs] = [found.revision, Math.min(sent, renewedMs + held.ttlMs)];
  };
  const keep = async () => {
    while (!ended.signal.aborted) {
      await pause(held.ttlMs / 4, ended.signal);
      if (!ended.signal.aborted) await renew();
    }
  };
  // Renewals may hang with the connection, so that a clock of its own ends the lease.
  const watchdog = setInterval(() => {
    if (held.nowMs() - renewedMs >= held.ttlMs * 0.9) lost(`not renewed for ${held.ttlMs} ms`);
  }, held.ttlMs / 20);
  ended.signal.addEventListener('abort', () => clearInterval(watchdog));
  const keeping = keep();
  let released: Promise<void> | undefined;
  const release = () => {
    const wasHeld = !ended.signal.aborted;
    ended.abort(new ParleyError('CANCELLED', `The lease ${held.key} was given up`));
    return (released ??= keeping.then(async () => {
      if (wasHeld) await giveUp(bus, kv, held.key, revision);
    }));
  };
  return { signal: ended.signal, fencingToken: held.revision, release, [Symbol.asyncDispose]: release };
}

async function giveUp(bus: Bus, kv: KV, key: string, revision: number): Promise<void> {
  try {
    await kv.delete(key, { previousSeq: revision });
  } catch (error) {
    bus.log.warn({ err: error, key }, 'lease not given up; it will expire');
  }
}

async function heldError(kv: KV, { key, waitMs = 0 }: LeaseOptions, bus: Bus): Promise<ParleyError> {
  const found = await kv.get(key).catch((error: unknown) => {
    throw busError(error, `reading the lease ${key}`);
  });
  const holder = found?.operation === 'PUT' ? found.string() : 'another process';
  bus.log.debug({ key, holder }, 'lease is held');
  const message = `The lease ${key} is held by ${holder}, and was not freed within ${waitMs} ms; stop it, or wait until it expires`;
  return new ParleyError('LEASE_HELD', message, { details: { key, holder } });
}

function isConflict(error: unknown): boolean {
  const code = jetStreamCode(error);
  return code === JS_CODES.wrongLastSequence || code === JS_CODES.wrongLastSequenceUnknown;
}
