import { oneOf, readConfig } from './config.js';
import type { ConfigOf, Env, Field } from './config.js';
import { ParleyError } from './errors.js';
import { EXIT, exitCodeOf, signalExitCode } from './exit-code.js';
import { LOG_LEVELS, createLog } from './log.js';
import type { Log, LogLevel } from './log.js';

/**
 * States of a service process, in this order; each transition is logged.
 *
 * - `starting`: configuration is read and parts are wired; health says NOT_SERVING or nothing listens yet
 * - `serving`: work is done
 * - `draining`: after SIGTERM, SIGINT or a fatal failure: health NOT_SERVING, no new work, work in flight finishes
 * - `closed`: everything is released; the process exits
 */
export type ServiceState = 'starting' | 'serving' | 'draining' | 'closed';

/** A started service, as {@link runService} drives it. All three are idempotent. */
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
  /** Aborted when a signal arrives while starting; `start` should then throw. */
  signal: AbortSignal;
  /** Ends the service for a failure in the background, which becomes its exit code. The first one counts. */
  fail: (error: unknown) => void;
}

/** A service process. */
export interface ServiceSpec<F extends Record<string, Field<unknown>>> {
  name: string;
  fields: F;
  start(context: StartContext<ConfigOf<F>>): Promise<Service>;
  /** How long a drain may take, in milliseconds; 15 000 unless given. */
  drainDeadlineMs?: number;
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
 * A second signal exits at once. The log level is read from `PARLEY_LOG_LEVEL`.
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
  const enter = (state: ServiceState) => log.info({ state }, `${spec.name} ${state}`);
  const stop = createStop(host, log);
  try {
    enter('starting');
    const config = readConfig(host.env, { ...LOG_FIELDS, ...spec.fields });
    const service = await spec.start({ config, log, signal: stop.signal, fail: stop.fail });
    try {
      if (!stop.signal.aborted) enter('serving');
      await stop.requested;
      enter('draining');
      service.stopServing();
      await service.drain(spec.drainDeadlineMs ?? 15_000);
    } finally {
      await service.close();
      enter('closed');
    }
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

/** The setting that {@link runService} reads for every service. */
export const LOG_FIELDS = {
  logLevel: oneOf('PARLEY_LOG_LEVEL', LOG_LEVELS, {
    description: 'least severe lines that are logged, as JSON on standard output',
    fallback: 'info',
  }),
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
