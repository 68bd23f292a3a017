import type {
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape,
} from '@bufbuild/protobuf';
import type {
  Metadata,
  Server,
  ServerUnaryCall,
  ServerWritableStream,
  StatusObject,
  UntypedHandleCall,
  sendUnaryData,
} from '@grpc/grpc-js';
import { once } from 'node:events';
import type { PeerCertificate } from 'node:tls';
import { context as activeContext, trace } from '@opentelemetry/api';
import { ParleyError } from './errors.js';
import { methodDefinition, methodNames } from './grpc-bridge.js';
import type { AnyInit, AnyMessage } from './grpc-bridge.js';
import type { Log } from './log.js';
import type { Metrics } from './metrics.js';
import { RPC_METRICS, createRpcMetrics, observeCall } from './rpc-observer.js';
import { toServiceError } from './service-error.js';
import { SpanKind } from './tracing.js';

/** What a handler knows of the call beside its request. */
export interface CallContext {
  /** Aborted when the caller cancels, disconnects or passes its deadline; work should stop then. */
  readonly signal: AbortSignal;
  /** When the caller stops waiting, in milliseconds since the epoch; `Infinity` where it set no deadline. */
  readonly deadlineEpochMs: number;
  /** Request headers (`traceparent`, …). */
  readonly metadata: Metadata;
  /** Address of the caller. */
  readonly caller: string;
  /** Who calls, as {@link Authorize} found; empty where nobody asks. */
  readonly actor: string;
}

/** What is known of a call before its handler runs. */
export interface CallFacts {
  /** `parley.v1.PeerService/Generate`. */
  readonly method: string;
  readonly metadata: Metadata;
  /** The caller's certificate, if it gave one and the server's authorities signed it. */
  readonly certificate: PeerCertificate | undefined;
  /** Address of the caller. */
  readonly caller: string;
}

/**
 * Lets a call through, or not.
 *
 * @returns a name for who calls
 * @throws ParleyError UNAUTHENTICATED, PERMISSION_DENIED, RATE_LIMITED
 */
export type Authorize = (call: CallFacts) => Promise<string>;

/** The handler of one method: a promise for a unary method, an async iterable for a server stream. */
export type MethodHandler<M> =
  M extends DescMethodUnary<infer I, infer O>
    ? (request: MessageShape<I>, context: CallContext) => Promise<MessageInitShape<O>>
    : M extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageShape<I>, context: CallContext) => AsyncIterable<MessageInitShape<O>>
      : never;

/** A handler for every method of a service. */
export type ServiceImpl<S extends DescService> = {
  [K in keyof S['method']]: MethodHandler<S['method'][K]>;
};

/** A service with its implementation, ready to be served; made by {@link implement}. */
export interface BoundService {
  readonly service: DescService;
  addTo(server: Server, support: ServeSupport): void;
}

/** What surrounds every handler. */
export interface ServeSupport {
  log: Log;
  /** Everybody may call everything unless given. */
  authorize?: Authorize;
  /** Begins a trace for a call that belongs to none. */
  beginTraces?: boolean;
  metrics?: Metrics<typeof RPC_METRICS>;
}

/** Pairs a service with its handlers, checked against each other by the compiler. */
export function implement<S extends DescService>(service: S, impl: ServiceImpl<S>): BoundService {
  return { service, addTo: (server, support) => addService(server, service, impl, support) };
}

/**
 * Registers a protobuf-es service on a grpc-js server. Whatever a handler throws reaches the caller as a
 * {@link ParleyError}; what was not one already is a defect, and is logged with its stack. A stream is pulled only
 * as fast as the caller reads.
 */
export function addService<S extends DescService>(
  server: Server,
  service: S,
  impl: ServiceImpl<S>,
  support: ServeSupport,
): void {
  const names = methodNames(service);
  const definition = names.map((name) => [name, methodDefinition(service, name)] as const);
  const metrics = support.metrics ?? createRpcMetrics();
  const handlers = definition.map(([name, method]): [string, UntypedHandleCall] => {
    const handler = (impl as Record<string, unknown>)[name];
    const around = surround(method.path, { ...support, metrics });
    if (method.responseStream) return [name, serveStream((handler as StreamHandler).bind(impl), around)];
    return [name, serveUnary((handler as UnaryHandler).bind(impl), around)];
  });
  server.addService(Object.fromEntries(definition), Object.fromEntries(handlers));
}

type UnaryHandler = (request: AnyMessage, context: CallContext) => Promise<AnyInit>;
type StreamHandler = (request: AnyMessage, context: CallContext) => AsyncIterable<AnyInit>;
type AnyCall = ServerUnaryCall<AnyMessage, AnyInit> | ServerWritableStream<AnyMessage, AnyInit>;

/** Runs the work of a call: authorized, measured and traced. A failure becomes the status that the caller gets. */
type Around = <T>(call: AnyCall, work: (context: CallContext) => Promise<T>) => Promise<Outcome<T>>;
type Outcome<T> = { value: T } | { status: StatusObject };

function surround(
  path: string,
  { log, authorize, beginTraces = false, metrics }: ServeSupport & { metrics: Metrics<typeof RPC_METRICS> },
): Around {
  const method = path.slice(1);
  const report = reporter(log, path);
  return async (call, work) => {
    const parent = traceOf(call.metadata);
    const traced = beginTraces || parent.traceparent !== undefined;
    const observed = observeCall({ path, kind: SpanKind.SERVER, seconds: metrics.served, traced, parent });
    const run = async () => {
      const certificate = call.getAuthContext()?.sslPeerCertificate;
      const facts = { method, metadata: call.metadata, certificate, caller: call.getPeer() };
      const actor = authorize ? await authorize(facts) : '';
      return work(contextOf(call, actor));
    };
    const active = activeContext.active();
    const within = observed.span ? trace.setSpan(active, observed.span) : active;
    try {
      const value = await activeContext.with(within, run);
      observed.end();
      return { value };
    } catch (thrown) {
      observed.end({ error: thrown });
      return { status: report(thrown) };
    }
  };
}

function serveUnary(handler: UnaryHandler, around: Around) {
  return (call: ServerUnaryCall<AnyMessage, AnyInit>, callback: sendUnaryData<AnyInit>): void => {
    void around(call, (context) => handler(call.request, context)).then((outcome) => {
      if ('status' in outcome) callback(outcome.status);
      else callback(null, outcome.value);
    });
  };
}

function serveStream(handler: StreamHandler, around: Around) {
  return (call: ServerWritableStream<AnyMessage, AnyInit>): void => {
    const answer = async (context: CallContext) => {
      for await (const response of handler(call.request, context)) {
        context.signal.throwIfAborted();
        if (!call.write(response)) await once(call, 'drain', { signal: context.signal });
      }
    };
    void around(call, answer).then((outcome) => {
      if (call.cancelled) return;
      if ('status' in outcome) call.emit('error', outcome.status);
      else call.end();
    });
  };
}

function contextOf(call: AnyCall, actor: string): CallContext {
  const controller = new AbortController();
  const abort = () =>
    controller.abort(new ParleyError('CANCELLED', `The caller ${call.getPeer()} gave up ${call.getPath()}`));
  if (call.cancelled) abort();
  else call.once('cancelled', abort);
  return {
    signal: controller.signal,
    deadlineEpochMs: Number(call.getDeadline()),
    metadata: call.metadata,
    caller: call.getPeer(),
    actor,
  };
}

function traceOf(metadata: Metadata): { traceparent?: string; tracestate?: string } {
  const [traceparent, tracestate] = ['traceparent', 'tracestate'].map((key) =>
    metadata.get(key)[0]?.toString(),
  );
  return { ...(traceparent && { traceparent }), ...(tracestate && { tracestate }) };
}

/** Maps what a handler threw to the wire, and logs it: defects with their stack, refusals in one line. */
function reporter(log: Log, method: string): (thrown: unknown) => StatusObject {
  return (thrown) => {
    const error = ParleyError.from(thrown);
    const wire = toServiceError(error);
    if (error.code === 'INTERNAL') log.error({ method, err: thrown }, 'request failed');
    else if (error.code === 'CANCELLED') log.debug({ method }, error.message);
    else log.info({ method, code: error.code, reason: error.reason }, error.message);
    return wire;
  };
}
