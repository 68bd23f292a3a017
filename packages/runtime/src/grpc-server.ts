import { Server, ServerCredentials, logVerbosity, setLogVerbosity } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { MAX_MESSAGE_BYTES } from './grpc-bridge.js';
import type { Authorize, BoundService } from './grpc-handler.js';
import { listenError } from './listen-error.js';
import type { Log } from './log.js';
import type { Registry } from './metrics.js';
import { addReflection } from './reflection.js';
import { createRpcMetrics } from './rpc-observer.js';

/** What a gRPC server serves, and where. */
export interface GrpcServerOptions {
  /** Interface to listen on: `127.0.0.1`, `0.0.0.0`, `[::]`. */
  host: string;
  /** 0 lets the system choose a free port. */
  port: number;
  services: readonly BoundService[];
  log: Log;
  /** Plain text unless given. */
  credentials?: ServerCredentials;
  /** Asked before every call of `services`; everybody may call everything unless given. Health and reflection are open. */
  authorize?: Authorize;
  /** Begins a trace for a call that belongs to none: for what people and programs from outside call. */
  beginTraces?: boolean;
  /** Where calls are measured. */
  registry?: Registry;
  /**
   * Age at which a connection is asked to reconnect, so that clients find new replicas behind a name (5 minutes
   * unless given). Calls in flight are left to finish.
   */
  maxConnectionAgeMs?: number;
  /** Largest request accepted, in bytes; {@link MAX_MESSAGE_BYTES} unless given. */
  maxRequestBytes?: number;
}

/** A listening server. It reports NOT_SERVING until {@link GrpcServer.setServing} says otherwise. */
export interface GrpcServer extends AsyncDisposable {
  /** The port listened on. */
  readonly port: number;
  /** `host:port` as listened on. */
  readonly address: string;
  /** Health (grpc.health.v1) of the whole server (`""`) and of every service. */
  setServing(serving: boolean): void;
  /** NOT_SERVING, no new calls, calls in flight finish or are cut off after `deadlineMs`. Idempotent. */
  drain(deadlineMs: number): Promise<void>;
  /** Cuts off every call and stops listening. Idempotent. */
  close(): Promise<void>;
}

/**
 * Starts a gRPC server with health and reflection.
 *
 * @throws ParleyError PORT_IN_USE naming the port and the remedy, ADDRESS_UNUSABLE where the host or port cannot
 *   be listened on for another cause
 */
export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const { host, services, maxRequestBytes = MAX_MESSAGE_BYTES, log } = options;
  const support = { ...options, metrics: createRpcMetrics(options.registry) };
  // grpc-js prints errors to standard error that it also returns; ours are reported once, by who asked.
  setLogVerbosity(logVerbosity.NONE);
  const server = new Server({
    'grpc.max_connection_age_ms': options.maxConnectionAgeMs ?? 300_000,
    'grpc.max_receive_message_length': maxRequestBytes,
    'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
    'grpc.so_reuseport': 0,
  });
  for (const bound of services) bound.addTo(server, support);
  const health = addHealth(server, services);
  addReflection(
    server,
    services.map((bound) => bound.service),
  );
  const port = await bind(server, options);
  const drain = async (deadlineMs: number) => {
    health(false);
    const cut = setTimeout(() => {
      log.warn({ deadlineMs }, 'calls in flight are cut off: the drain deadline passed');
      server.forceShutdown();
    }, deadlineMs);
    await new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
    clearTimeout(cut);
  };
  const close = async () => {
    health(false);
    server.forceShutdown();
  };
  return {
    port,
    address: `${host}:${port}`,
    setServing: health,
    drain,
    close,
    [Symbol.asyncDispose]: close,
  };
}

function addHealth(server: Server, services: readonly BoundService[]): (serving: boolean) => void {
  const health = new HealthImplementation();
  const names = ['', ...services.map((bound) => bound.service.typeName)];
  const set = (serving: boolean) => {
    for (const name of names) health.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING');
  };
  set(false);
  health.addToServer(server);
  return set;
}

async function bind(server: Server, { host, port, credentials }: GrpcServerOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`${host}:${port}`, credentials ?? ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(listenError(error, host, port));
    });
  });
}
