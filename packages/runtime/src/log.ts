import { pino } from 'pino';
import type { DestinationStream } from 'pino';
import { activeTrace } from './tracing.js';

/** Writes one line: fields for programs, then a message for people. */
export interface LogLine {
  (fields: object, message?: string): void;
  (message: string): void;
}

/** The part of a structured logger that Parley's code uses; pino satisfies it. */
export interface Log {
  debug: LogLine;
  info: LogLine;
  warn: LogLine;
  error: LogLine;
  /** A log that adds `bindings` to every line. */
  child(bindings: Record<string, unknown>): Log;
}

/** Least severe level that is written. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** All levels, least severe first, for the `oneOf` field of a configuration. */
export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const satisfies LogLevel[];

/** How {@link createLog} logs. */
export interface LogOptions {
  /** Name of the service, in every line as `service`. */
  service: string;
  level?: LogLevel;
  /** Where lines go; standard output, written synchronously so that a crash loses none, unless given. */
  destination?: DestinationStream;
}

/**
 * A JSON line per event: `time` (RFC 3339), `level` (word), `service`, the fields, `msg`; an Error under `err` is
 * written with its stack, reason and causes. Within a span that is sent somewhere, `trace_id` and `span_id` too.
 */
export function createLog({ service, level = 'info', destination }: LogOptions): Log {
  const options = {
    level,
    base: { service },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: pino.stdSerializers.errWithCause },
    mixin: () => activeTrace() ?? {},
  };
  return pino(options, destination ?? pino.destination({ fd: 1, sync: true }));
}

/** A log that writes nothing, for libraries whose caller gave none. */
export function createSilentLog(): Log {
  const ignore = () => undefined;
  const log: Log = { debug: ignore, info: ignore, warn: ignore, error: ignore, child: () => log };
  return log;
}
