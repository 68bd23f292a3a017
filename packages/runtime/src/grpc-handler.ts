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
import { ParleyError } from './errors.js';
import { methodDefinition, methodNames } from './grpc-bridge.js';
import type { AnyInit, AnyMessage } from './grpc-bridge.js';
import type { Log } from './log.js';
import { toServiceError } from './service-error.js';

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
}

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
  addTo(server: Server, log: Log): void;
}

/** Pairs a service with its handlers, checked against each other by the compiler. */
export function implement<S extends DescService>(service: S, impl: ServiceImpl<S>): BoundService {
  return { service, addTo: (server, log) => addService(server, service, impl, log) };
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
  log: Log,
): void {
  const names = methodNames(service);
  const definition = names.map((name) => [name, methodDefinition(service, name)] as const);
  const handlers = definition.map(([name, method]): [string, UntypedHandleCall] => {
    const handler = (impl as Record<string, unknown>)[name];
    const report = reporter(log, method.path);
    if (method.responseStream) return [name, serveStream((handler as StreamHandler).bind(impl), report)];
    return [name, serveUnary((handler as UnaryHandler).bind(impl), report)];
  });
  server.addService(Object.fromEntries(definition), Object.fromEntries(handlers));
}

type UnaryHandler = (request: AnyMessage, context: CallContext) => Promise<AnyInit>;
type StreamHandler = (request: AnyMessage, context: CallContext) => AsyncIterable<AnyInit>;
type Report = (thrown: unknown) => StatusObject;

function serveUnary(handler: UnaryHandler, report: Report) {
  return (call: ServerUnaryCall<AnyMessage, AnyInit>, callback: sendUnaryData<AnyInit>): void => {
    const answer = async () => handler(call.request, contextOf(call));
    answer().then(
      (response) => callback(null, response),
      (thrown: unknown) => callback(report(thrown)),
    );
  };
}

function serveStream(handler: StreamHandler, report: Report) {
  return (call: ServerWritableStream<AnyMessage, AnyInit>): void => {
    const context = contextOf(call);
    const answer = async () => {
      for await (const response of handler(call.request, context)) {
        if (context.signal.aborted) return;
        if (!call.write(response)) await once(call, 'drain', { signal: context.signal });
      }
      call.end();
    };
    answer().catch((thrown: unknown) => {
      if (context.signal.aborted) return;
      call.emit('error', report(thrown));
    });
  };
}

type AnyCall = ServerUnaryCall<AnyMessage, AnyInit> | ServerWritableStream<AnyMessage, AnyInit>;

function contextOf(call: AnyCall): CallContext {
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
  };
}

/** Maps what a handler threw to the wire, and logs it: defects with their stack, refusals in one line. */
function reporter(log: Log, method: string): Report {
  return (thrown) => {
    const error = ParleyError.from(thrown);
    const wire = toServiceError(error);
    if (error.code === 'INTERNAL') log.error({ method, err: thrown }, 'request failed');
    else log.info({ method, code: error.code, reason: error.reason }, error.message);
    return wire;
  };
}
