import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { connect, credsAuthenticator, errors } from '@nats-io/transport-node';
import type { ConnectionOptions, NatsConnection, TlsOptions } from '@nats-io/transport-node';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import type { JetStreamClient, JetStreamManager } from '@nats-io/jetstream';
import { ParleyError, createSilentLog, retry, withDeadline } from '@parley/runtime';
import type { Identity, Log, Registry } from '@parley/runtime';
import { busError } from './bus-error.js';
import { createBusMetrics } from './bus-metrics.js';
import type { BusMetrics } from './bus-metrics.js';
import { MIN_NATS_VERSION, isOlder, tooOld } from './nats-version.js';
import { peerToken } from './subjects.js';

/** How to log in to NATS. Secrets are read from files at connect time. */
export type BusAuth =
  | { kind: 'user'; user: string; password: string }
  | { kind: 'token'; token: string }
  | { kind: 'creds'; credsFile: string };

/** How to reach NATS. */
export interface BusOptions {
  /** `nats://host:port`, one or several of one cluster. */
  servers: string | readonly string[];
  /** Name of the client in the server's monitoring. */
  name: string;
  /** Who connects: its replies come in under {@link inboxPrefix}. Anybody unless given. */
  identity?: Identity;
  auth?: BusAuth;
  /** Files are read at every connect, so that a rotated certificate needs no restart. */
  tls?: TlsOptions;
  /** Whether missing streams, consumers and buckets may be made; `true` unless given. */
  makesTopology?: boolean;
  /** Whether a refused login is tried again until `connectTimeoutMs`: somebody is about to let this client in. */
  awaitsAccess?: boolean;
  /** Where the bus is measured. */
  registry?: Registry;
  /** Milliseconds to find a server before NATS_UNREACHABLE; 10 000 unless given. */
  connectTimeoutMs?: number;
  /** Milliseconds to wait for each JetStream reply; 5000 unless given. */
  requestTimeoutMs?: number;
  log?: Log;
}

/** A connection to NATS JetStream. After the first connect it reconnects for ever; changes of state are logged. */
export interface Bus extends AsyncDisposable {
  /** The servers asked for, for messages. */
  readonly url: string;
  readonly connection: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  readonly log: Log;
  /** Milliseconds waited for each JetStream reply. */
  readonly requestTimeoutMs: number;
  /** Subject under which replies come in. */
  readonly inboxPrefix: string;
  /** Whether missing streams, consumers and buckets may be made. */
  readonly makesTopology: boolean;
  readonly metrics: BusMetrics;
  /** Largest payload the server takes in one message, in bytes. */
  readonly maxPayloadBytes: number;
  /**
   * Calls `listener` whenever the connection is lost and whenever it is back, until the returned function is called.
   * Requests that were under way, or sent in between, may never be answered.
   */
  onInterruption(listener: () => void): () => void;
  /** Sends what is buffered, then closes; at most `deadlineMs` (2000 unless given). Idempotent. */
  close(deadlineMs?: number): Promise<void>;
}

/**
 * Subject under which the replies to a client come in. One a role, so that nats-server can keep a client from listening to
 * what is answered to others.
 */
export function inboxPrefix(identity: Identity | undefined): string {
  if (identity === undefined) return '_INBOX';
  return `_INBOX_${identity.role === 'peer' ? peerToken(identity.name) : identity.role}`;
}

/**
 * Connects, and refuses servers that cannot do the work.
 *
 * @throws ParleyError NATS_UNREACHABLE (nothing answered within `connectTimeoutMs`), NATS_DENIED (login refused),
 *   NATS_TOO_OLD (naming the version found and the one needed), NATS_NO_JETSTREAM (naming the remedy)
 */
export async function connectBus(options: BusOptions): Promise<Bus> {
  const { log = createSilentLog(), requestTimeoutMs = 5000, makesTopology = true, registry } = options;
  const metrics = createBusMetrics(registry);
  const url = [options.servers].flat().join(',');
  const connection = await connectFirst(options, url);
  try {
    const version = connection.info?.version ?? 'unknown';
    if (isOlder(version, MIN_NATS_VERSION)) throw tooOld(url, version, MIN_NATS_VERSION);
    const jsOptions = { timeout: requestTimeoutMs };
    const jsm = await managerOf(connection, jsOptions, url);
    const listeners = new Set<() => void>();
    void watchStatus({ connection, log, url, metrics }, listeners);
    metrics.connected.set(1);
    log.info({ url, version }, 'connected to nats-server');
    const close = createClose(connection);
    return {
      url,
      connection,
      js: jetstream(connection, jsOptions),
      jsm,
      log,
      requestTimeoutMs,
      inboxPrefix: inboxPrefix(options.identity),
      makesTopology,
      metrics,
      get maxPayloadBytes() {
        return connection.info?.max_payload ?? 1024 * 1024;
      },
      onInterruption(listener) {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
      close,
      [Symbol.asyncDispose]: () => close(),
    };
  } catch (error) {
    await connection.close();
    throw error;
  }
}

/**
 * Milliseconds for one attempt to connect, the first and later ones. One that is taken and never answered would otherwise use
 * up all the time there is, and none would follow.
 */
const ATTEMPT_MS = 5000;

async function connectFirst(options: BusOptions, url: string): Promise<NatsConnection> {
  const { connectTimeoutMs = 10_000, awaitsAccess = false, log = createSilentLog() } = options;
  const natsOptions = await connectionOptions(options, connectTimeoutMs);
  const started = Date.now();
  let refused = false;
  const shouldRetry = (error: unknown) => {
    if (isDenied(error) && awaitsAccess && !refused) {
      refused = true;
      log.warn(
        { url, waitMs: connectTimeoutMs },
        'nats-server refuses the login; trying again until it lets in',
      );
    }
    return (awaitsAccess || !isDenied(error)) && Date.now() - started < connectTimeoutMs;
  };
  const retryOptions = {
    attempts: Infinity,
    baseMs: 50,
    maxMs: awaitsAccess ? 2000 : 500,
    shouldRetry,
  };
  try {
    return await withDeadline(
      { deadlineMs: connectTimeoutMs + 500, what: `connecting to ${url}` },
      (signal) => retry({ ...retryOptions, signal }, () => connect(natsOptions)),
    );
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    if (isDenied(error)) {
      const remedy = (await hasNoSubject(options.tls))
        ? 'the certificate has no subject, and nats-server knows nobody by such a one, whatever DNS names are in it'
        : 'check user, password, token, credentials file or certificate';
      const message = `nats-server at ${url} refused the login: ${text}; ${remedy}`;
      throw new ParleyError('NATS_DENIED', message, { details: { url }, cause: error });
    }
    const message = `No nats-server answers at ${url} within ${connectTimeoutMs} ms: ${text}; start one there, or give its address`;
    throw new ParleyError('NATS_UNREACHABLE', message, { details: { url }, cause: error });
  }
}

async function connectionOptions(options: BusOptions, timeoutMs: number): Promise<ConnectionOptions> {
  return {
    servers: [options.servers].flat(),
    name: options.name,
    inboxPrefix: inboxPrefix(options.identity),
    timeout: Math.min(timeoutMs, ATTEMPT_MS),
    maxReconnectAttempts: -1,
    ignoreAuthErrorAbort: true,
    reconnectTimeWait: 250,
    reconnectJitter: 100,
    pingInterval: 4000,
    maxPingOut: 2,
    ...(options.tls === undefined ? {} : { tls: options.tls }),
    ...(options.auth === undefined ? {} : await authOptions(options.auth)),
  };
}

async function authOptions(auth: BusAuth): Promise<ConnectionOptions> {
  if (auth.kind === 'user') return { user: auth.user, pass: auth.password };
  if (auth.kind === 'token') return { token: auth.token };
  try {
    return { authenticator: credsAuthenticator(await readFile(auth.credsFile)) };
  } catch (error) {
    const message = `Cannot read the NATS credentials file ${auth.credsFile}: ${(error as Error).message}`;
    throw new ParleyError('CONFIG_INVALID', message, { details: { path: auth.credsFile }, cause: error });
  }
}

async function hasNoSubject(tls: TlsOptions | undefined): Promise<boolean> {
  if (tls?.certFile === undefined) return false;
  return !new X509Certificate(await readFile(tls.certFile)).subject;
}

function isDenied(error: unknown): boolean {
  return error instanceof errors.AuthorizationError || error instanceof errors.UserAuthenticationExpiredError;
}

async function managerOf(
  connection: NatsConnection,
  options: { timeout: number },
  url: string,
): Promise<JetStreamManager> {
  const missing = (cause?: unknown) => {
    const message = `nats-server at ${url} runs without JetStream; start it with -js and a store folder (-sd), or enable JetStream for this account`;
    return new ParleyError('NATS_NO_JETSTREAM', message, { details: { url }, cause });
  };
  try {
    return await jetstreamManager(connection, options);
  } catch (error) {
    if (error instanceof Error && error.name === 'JetStreamNotEnabled') throw missing(error);
    throw busError(error, `asking ${url} about JetStream`);
  }
}

/** Logs every change of the connection's state until it is closed. */
async function watchStatus(
  { connection, log, url, metrics }: Pick<Bus, 'connection' | 'log' | 'url' | 'metrics'>,
  listeners: ReadonlySet<() => void>,
): Promise<void> {
  for await (const status of connection.status()) {
    if (status.type === 'disconnect' || status.type === 'reconnect') {
      for (const listener of [...listeners]) listener();
    }
    if (status.type === 'disconnect') {
      metrics.connected.set(0);
      log.warn({ url }, 'lost the connection to nats-server; reconnecting');
    } else if (status.type === 'reconnect') {
      metrics.connected.set(1);
      metrics.reconnects.inc();
      log.info({ url, server: status.server }, 'reconnected to nats-server');
    } else if (status.type === 'error') {
      log.warn({ url, err: status.error }, 'nats-server reported an error');
    } else if (status.type === 'ldm') {
      log.info({ url }, 'nats-server is shutting down; moving to another');
    }
  }
}

function createClose(connection: NatsConnection): (deadlineMs?: number) => Promise<void> {
  let closing: Promise<void> | undefined;
  return (deadlineMs = 2000) => (closing ??= closeWithin(connection, deadlineMs));
}

async function closeWithin(connection: NatsConnection, deadlineMs: number): Promise<void> {
  if (connection.isClosed()) return;
  await Promise.allSettled([
    withDeadline({ deadlineMs, what: 'flushing to NATS' }, () => connection.flush()),
  ]);
  await connection.close();
}
