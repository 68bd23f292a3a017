import { createCleanupStack } from './cleanup-stack.js';
import { durationMs, listen, oneOf, optional, readConfig, url } from './config.js';
import type { ConfigOf, Env, Field } from './config.js';
import { ParleyError } from './errors.js';
import { EXIT, exitCodeOf, signalExitCode } from './exit-code.js';
import { LOG_LEVELS, createLog } from './log.js';
import type { Log, LogLevel } from './log.js';
import { createRegistry } from './metrics.js';
import type { Registry } from './metrics.js';
import { startMonitor } from './monitor.js';
import { startTracing } from './tracing.js';

/**
 * States of a service process, in this order; each transition is logged.
 *
 * - `starting`: configuration is read and parts are wired; health says NOT_SERVING or nothing listens yet
 * - `serving`: work is done
 * - `draining`: after SIGTERM, SIGINT or a fatal failure: health NOT_SERVING, no new work, work in flight finishes
 * - `closed`: everything is released; the process exits
 */
export type ServiceState = 'starting' | 'serving' | 'draining' | 'closed';

/** A started service, as {@link runService} drives it. All of it is idempotent. */
export interface Service {
  /** Health turns NOT_SERVING, so that callers look elsewhere. */
  stopServing(): void;
  /** Takes no new work and finishes what is in flight, within `deadlineMs`. */
  drain(deadlineMs: number): Promise<void>;
  /** Releases everything that `start` created. */
  close(): Promise<void>;
}

/** What `start` is given. */
export interface StartContext<C> {
  config: C;
  log: Log;
  /** Where the service's metrics are shown. */
  registry: Registry;
  /** Aborted when a signal arrives while starting; `start` should then throw. */
  signal: AbortSignal;
  /** Ends the service for a failure in the background, which becomes its exit code. The first one counts. */
  fail: (error: unknown) => void;
  /** Says in a few words what a start that takes long is at; /readyz shows the last of them. */
  report: (doing: string) => void;
}

/** A service process. */
export interface ServiceSpec<F extends Record<string, Field<unknown>>> {
  name: string;
  fields: F;
  start(context: StartContext<ConfigOf<F>>): Promise<Service>;
}

/** The process around a service: what a test replaces. */
export interface Host {
  env: Env;
  onSignal: (listener: (signal: 'SIGINT' | 'SIGTERM') => void) => void;
  exit: (code: number) => void;
  printError: (text: string) => void;
}

/**
 * Runs a service until a signal or a fatal failure ends it, then exits the process: health NOT_SERVING, drain, close.
 * A second signal exits at once. {@link PROCESS_FIELDS} are read beside the service's own fields: log level, monitor,
 * traces, and how long a drain may take.
 *
 * Exit codes are those of {@link EXIT}: 0 after a signal and a complete drain, 2 for a bad configuration, 3 where
 * something needed is missing, 1 for the rest; 130 or 143 after a second signal. A failure is one line on standard
 * error, and nothing else is ever printed there.
 */
export async function runService<F extends Record<string, Field<unknown>>>(
  spec: ServiceSpec<F>,
  host: Host = processHost(),
): Promise<void> {
  const log = createLog({ service: spec.name, level: logLevel(host.env) });
  let state: ServiceState = 'starting';
  const enter = (next: ServiceState) => {
    state = next;
    log.info({ state }, `${spec.name} ${state}`);
  };
  const stop = createStop(host, log);
  try {
    await using cleanup = createCleanupStack();
    enter('starting');
    const config = readConfig(host.env, { ...PROCESS_FIELDS, ...spec.fields });
    // The compiler does not see through the union with fields that are not known here.
    const { monitor, otlpEndpoint, drainDeadlineMs } = config as ConfigOf<typeof PROCESS_FIELDS>;
    const registry = createRegistry();
    let doing = '';
    const report = (text: string) => void (doing = text);
    const notReady = () => {
      if (state === 'serving') return undefined;
      return `${spec.name} is ${state}${state === 'starting' && doing !== '' ? `: ${doing}` : ''}`;
    };
    if (monitor) cleanup.use(await startMonitor({ listen: monitor, registry, notReady, log }));
    if (otlpEndpoint) cleanup.use(startTracing({ service: spec.name, endpoint: otlpEndpoint, log }));
    const { signal, fail } = stop;
    const service = await spec.start({ config, log, registry, signal, fail, report });
    try {
      if (!stop.signal.aborted) enter('serving');
      await stop.requested;
      enter('draining');
      service.stopServing();
      await service.drain(drainDeadlineMs);
    } finally {
      await service.close();
      enter('closed');
    }
    await cleanup.close();
    stop.throwIfFailed();
    host.exit(EXIT.ok);
  } catch (error) {
    if (stop.signalled && ParleyError.from(error).code === 'CANCELLED') return host.exit(EXIT.ok);
    log.error({ err: error }, `${spec.name} failed`);
    host.printError(`${spec.name}: ${ParleyError.from(error).message}\n`);
    host.exit(exitCodeOf(error));
  }
}

interface Stop {
  readonly requested: Promise<void>;
  readonly signal: AbortSignal;
  readonly signalled: boolean;
  fail: (error: unknown) => void;
  throwIfFailed(): void;
}

function createStop(host: Host, log: Log): Stop {
  const controller = new AbortController();
  let signalled = false;
  let failure: { error: unknown } | undefined;
  host.onSignal((signal) => {
    if (signalled) return host.exit(signalExitCode(signal));
    log.info({ signal }, 'stopping; a second signal exits at once');
    signalled = true;
    controller.abort(new ParleyError('CANCELLED', `Stopped by ${signal}`));
  });
  return {
    requested: new Promise((resolve) => controller.signal.addEventListener('abort', () => resolve())),
    signal: controller.signal,
    get signalled() {
      return signalled;
    },
    fail(error) {
      failure ??= { error };
      log.error({ err: error }, 'failed in the background; stopping');
      controller.abort(error);
    },
    throwIfFailed() {
      if (failure) throw failure.error;
    },
  };
}

/** The settings that {@link runService} reads for every service. */
export const PROCESS_FIELDS = {
  logLevel: oneOf('PARLEY_LOG_LEVEL', LOG_LEVELS, {
    description: 'least severe lines that are logged, as JSON on standard output',
    fallback: 'info',
  }),
  monitor: optional(
    listen('PARLEY_MONITOR_LISTEN', {
      description: 'host:port of plain HTTP with /metrics, /livez and /readyz; nothing listens unless set',
    }),
  ),
  drainDeadlineMs: durationMs('PARLEY_DRAIN_DEADLINE', {
    description: 'longest time that work in flight may take to finish after a signal to stop',
    fallback: 15_000,
    min: 0,
  }),
  otlpEndpoint: optional(
    url('OTEL_EXPORTER_OTLP_ENDPOINT', {
      description: 'OpenTelemetry collector (OTLP over HTTP) that traces are sent to; none are unless set',
      protocols: ['http:', 'https:'],
    }),
  ),
};

/** The wanted level; `info` while a bad one is being reported by {@link readConfig}. */
function logLevel(env: Env): LogLevel {
  return LOG_LEVELS.find((level) => level === env['PARLEY_LOG_LEVEL']) ?? 'info';
}

/** The real process. Unhandled rejections keep Node's default: they end the process with a stack. */
function processHost(): Host {
  return {
    env: process.env,
    onSignal(listener) {
      process.on('SIGTERM', listener);
      process.on('SIGINT', listener);
    },
    exit: (code) => process.exit(code),
    printError: (text) => void process.stderr.write(text),
  };
}
