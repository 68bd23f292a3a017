import { hostname } from 'node:os';
import {
  DiagLogLevel,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  context,
  diag,
  propagation,
  trace,
} from '@opentelemetry/api';
import type { Attributes, Context, Span } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import { ParleyError } from './errors.js';
import type { Log } from './log.js';

/** Where spans go. */
export interface TracingOptions {
  /** Name of the service: `peer` becomes `service.name` "parley-peer" unless the environment names another. */
  service: string;
  /** Base URL of an OTLP receiver over HTTP: `http://collector:4318`. */
  endpoint: string;
  log: Log;
}

/** Spans on their way out. */
export interface Tracing extends AsyncDisposable {
  /** Sends what is left. Idempotent. */
  flush(): Promise<void>;
}

/**
 * Sends the spans of this process to an OpenTelemetry collector (OTLP over HTTP, JSON), W3C Trace Context between
 * services. Until this is called, and without it, spans cost next to nothing and go nowhere. What the SDK itself reads
 * from the environment holds: `OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`, …
 */
export function startTracing({ service, endpoint, log }: TracingOptions): Tracing {
  const report = (message: string, ...rest: unknown[]) => log.warn({ rest }, `tracing: ${message}`);
  const silent = () => undefined;
  const logger = { error: report, warn: report, info: silent, debug: silent, verbose: silent };
  diag.setLogger(logger, { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
  const own = { 'service.name': `parley-${service}`, 'service.instance.id': hostname() };
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes(own).merge(detectResources({ detectors: [envDetector] })),
    spanProcessors: [
      new BatchSpanProcessor(new OTLPTraceExporter({ url: `${endpoint.replace(/\/+$/, '')}/v1/traces` })),
    ],
  });
  provider.register();
  let ended: Promise<void> | undefined;
  return {
    flush: () => provider.forceFlush(),
    [Symbol.asyncDispose]: () => (ended ??= provider.shutdown()),
  };
}

/** What a span is, beside its name. */
export interface SpanOptions {
  kind?: SpanKind;
  attributes?: Attributes;
  /** Headers of the message or call that caused this (`traceparent`); the span that is active here unless given. */
  parent?: TraceHeaders | undefined;
  /** Headers of others that this continues. */
  links?: readonly TraceHeaders[];
}

/** W3C Trace Context as it travels: `traceparent`, `tracestate`. Other keys are ignored. */
export type TraceHeaders = Readonly<Record<string, string | undefined>>;

/** Starts a span that the caller ends. */
export function startSpan(name: string, options: SpanOptions = {}): Span {
  const { kind = SpanKind.INTERNAL, attributes, parent, links = [] } = options;
  const linked = links.flatMap((headers) => trace.getSpanContext(contextOf(headers)) ?? []);
  return trace.getTracer('parley').startSpan(
    name,
    {
      kind,
      ...(attributes && { attributes }),
      links: linked.map((spanContext) => ({ context: spanContext })),
    },
    parent ? contextOf(parent) : context.active(),
  );
}

/** Runs work in a span that is active meanwhile. What the work throws is recorded, and passes. */
export async function inSpan<T>(
  name: string,
  options: SpanOptions,
  work: (span: Span) => Promise<T>,
): Promise<T> {
  const span = startSpan(name, options);
  try {
    return await context.with(trace.setSpan(context.active(), span), () => work(span));
  } catch (error) {
    failSpan(span, error);
    throw error;
  } finally {
    span.end();
  }
}

/** Marks a span as failed, with the reason. */
export function failSpan(span: Span, thrown: unknown): void {
  const { reason, message } = ParleyError.from(thrown);
  span.setAttribute('error.type', reason);
  span.setStatus({ code: SpanStatusCode.ERROR, message });
}

/** Headers by which another process continues the trace of `span`, or of the active span; empty where there is none. */
export function traceHeaders(span?: Span): Record<string, string> {
  const carrier: Record<string, string> = {};
  propagation.inject(span ? trace.setSpan(context.active(), span) : context.active(), carrier);
  return carrier;
}

/** Ids of the active span, for log lines. */
export function activeTrace(): { trace_id: string; span_id: string } | undefined {
  const found = trace.getActiveSpan()?.spanContext();
  return found && { trace_id: found.traceId, span_id: found.spanId };
}

function contextOf(headers: TraceHeaders): Context {
  return propagation.extract(ROOT_CONTEXT, headers);
}

export { SpanKind };
export type { Span };
