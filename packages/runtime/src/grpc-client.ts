import type {
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape,
} from '@bufbuild/protobuf';
import { Client as GrpcClient, Metadata, credentials } from '@grpc/grpc-js';
import type { CallOptions as GrpcCallOptions, ChannelCredentials, ServiceError } from '@grpc/grpc-js';
import { ParleyError, codeName, isParleyError } from './errors.js';
import { deferred } from './deadline.js';
import { MAX_MESSAGE_BYTES, methodDefinition, methodNames } from './grpc-bridge.js';
import type { AnyInit, AnyMessage } from './grpc-bridge.js';
import type { Metrics } from './metrics.js';
import { retry } from './retry.js';
import { createRpcMetrics, observeCall } from './rpc-observer.js';
import type { ObservedCall, RPC_METRICS } from './rpc-observer.js';
import { fromServiceError } from './service-error.js';
import { SpanKind, activeTrace, traceHeaders } from './tracing.js';

/** What one call may say beside its request. */
export interface CallOptions {
  /** Milliseconds until the caller stops waiting; the client's default unless given. A stream's covers all of it. */
  deadlineMs?: number;
  /** Cancels the call, here and at the server. */
  signal?: AbortSignal;
  /** Request headers, such as `traceparent`. */
  headers?: Readonly<Record<string, string>>;
}

/** The caller's side of one method. */
export type MethodClient<M> =
  M extends DescMethodUnary<infer I, infer O>
    ? (request: MessageInitShape<I>, options?: CallOptions) => Promise<MessageShape<O>>
    : M extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageInitShape<I>, options?: CallOptions) => AsyncIterable<MessageShape<O>>
      : never;

/** A typed client: every method of the service, and its connection. */
export type Client<S extends DescService> = {
  readonly [K in keyof S['method']]: MethodClient<S['method'][K]>;
} & {
  /** The address given, for messages. */
  readonly address: string;
  /** Closes the connection; idempotent. Calls in flight fail with CANCELLED or SERVICE_UNAVAILABLE. */
  close(): void;
  [Symbol.dispose](): void;
};

/** How a client connects and waits. */
export interface ClientOptions {
  /** Deadline of calls that give none, in milliseconds. There is no call without a deadline. */
  deadlineMs: number;
  /** What the address is, for messages: `peer ant`; the service's name unless given. */
  label?: string;
  /** Plain text unless given. */
  credentials?: ChannelCredentials;
  /** Headers of every call, such as `authorization`. */
  headers?: () => Readonly<Record<string, string>>;
  /**
   * Repeats unary calls while the service is away (a restart, a rolling upgrade): until their deadline once it has
   * answered any, and for `firstMs` before, when the address may simply be wrong. Only for services all of whose methods
   * are idempotent.
   */
  retryWhileAway?: { firstMs: number };
  /** Where calls are measured. */
  metrics?: Metrics<typeof RPC_METRICS>;
  /**
   * Silence after which the connection is probed, and how long the probe may go unanswered: a machine that vanished
   * without closing its connections is noticed after their sum. Services in other languages must permit pings this
   * frequent (`GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS` and its equals).
   */
  keepalive?: { timeMs: number; timeoutMs: number };
}

const DEFAULT_KEEPALIVE = { timeMs: 5000, timeoutMs: 4500 };

/**
 * A client of a protobuf-es service over grpc-js. It connects on the first call and by itself again after a loss,
 * at most 2 s late. Errors are {@link ParleyError}s that name the label, the address and the method: the server's
 * reason where it gave one, else SERVICE_UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED, UNIMPLEMENTED,
 * MESSAGE_TOO_LARGE or REMOTE_FAILURE. Leaving a `for await` over a stream early cancels the call.
 */
export function createClient<S extends DescService>(
  service: S,
  address: string,
  options: ClientOptions,
): Client<S> {
  const grpc = new GrpcClient(
    address,
    options.credentials ?? credentials.createInsecure(),
    channelOptions(options),
  );
  const metrics = options.metrics ?? createRpcMetrics();
  const patience = createPatience(options);
  const methods = methodNames(service).map((name) => {
    const method = methodDefinition(service, name);
    const where = `${options.label ?? service.typeName} at ${address}, method ${service.method[name]?.name}`;
    const caller = { ...options, metrics, grpc, method, where };
    if (method.responseStream) return [name, streamCaller(caller)] as const;
    return [name, patience(unaryCaller(caller))] as const;
  });
  const close = () => grpc.close();
  return { ...Object.fromEntries(methods), address, close, [Symbol.dispose]: close } as Client<S>;
}

function channelOptions({ keepalive = DEFAULT_KEEPALIVE }: ClientOptions): Record<string, number> {
  return {
    'grpc.keepalive_time_ms': keepalive.timeMs,
    'grpc.keepalive_timeout_ms': keepalive.timeoutMs,
    'grpc.keepalive_permit_without_calls': 1,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.min_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 2000,
    'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  };
}

interface Caller extends ClientOptions {
  grpc: GrpcClient;
  method: ReturnType<typeof methodDefinition>;
  where: string;
  metrics: Metrics<typeof RPC_METRICS>;
}

type UnaryCaller = (request: AnyInit, options?: CallOptions) => Promise<AnyMessage>;

function unaryCaller(caller: Caller): UnaryCaller {
  const { grpc, method, where } = caller;
  return async (request, options = {}) => {
    throwIfCancelled(options.signal, where);
    const observed = observe(caller);
    const { promise, resolve, reject } = deferred<AnyMessage>();
    const settle = (error: ServiceError | null, response?: AnyMessage) => {
      if (error) reject(callError(error, where, options.signal));
      else if (response) resolve(response);
    };
    const { path, requestSerialize, responseDeserialize } = method;
    const [metadata, callOptions] = [metadataOf(caller, options, observed), callOptionsOf(caller, options)];
    const call = grpc.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadata,
      callOptions,
      settle,
    );
    const cancel = () => call.cancel();
    options.signal?.addEventListener('abort', cancel, { once: true });
    try {
      const response = await promise;
      observed.end();
      return response;
    } catch (error) {
      observed.end({ error });
      throw error;
    } finally {
      options.signal?.removeEventListener('abort', cancel);
    }
  };
}

/** Pauses between attempts: short enough for a hand-over between replicas, rare enough for a restart of minutes. */
const AWAY_BACKOFF = { attempts: Infinity, baseMs: 100, maxMs: 2000 };

/** Makes calls that are repeated while the service is away, if that is wanted. */
function createPatience({ deadlineMs, retryWhileAway }: ClientOptions): (call: UnaryCaller) => UnaryCaller {
  if (retryWhileAway === undefined) return (call) => call;
  let answered = false;
  return (call) =>
    async (request, options = {}) => {
      const startMs = performance.now();
      const endMs = startMs + (options.deadlineMs ?? deadlineMs);
      const isWorthIt = (error: unknown) => {
        if (!isParleyError(error, 'SERVICE_UNAVAILABLE', 'SHUTTING_DOWN')) return false;
        const limitMs = answered ? endMs : Math.min(endMs, startMs + retryWhileAway.firstMs);
        return performance.now() + AWAY_BACKOFF.maxMs < limitMs;
      };
      const { signal } = options;
      return retry({ ...AWAY_BACKOFF, shouldRetry: isWorthIt, ...(signal && { signal }) }, async () => {
        const left = Math.max(1, endMs - performance.now());
        const response = await call(request, { ...options, deadlineMs: left });
        answered = true;
        return response;
      });
    };
}

function streamCaller(caller: Caller) {
  const { grpc, method, where } = caller;
  return async function* (request: AnyInit, options: CallOptions = {}): AsyncGenerator<AnyMessage> {
    throwIfCancelled(options.signal, where);
    const observed = observe(caller);
    const { path, requestSerialize, responseDeserialize } = method;
    const [metadata, callOptions] = [metadataOf(caller, options, observed), callOptionsOf(caller, options)];
    const call = grpc.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadata,
      callOptions,
    );
    const cancel = () => call.cancel();
    options.signal?.addEventListener('abort', cancel, { once: true });
    try {
      for await (const response of call) yield response as AnyMessage;
    } catch (thrown) {
      const error = isServiceError(thrown) ? callError(thrown, where, options.signal) : thrown;
      observed.end({ error });
      throw error;
    } finally {
      options.signal?.removeEventListener('abort', cancel);
      call.cancel();
      observed.end();
    }
  };
}

/** A call gets a span only within a trace: probes, which nobody's work causes, would be traces of their own. */
function observe({ method, metrics }: Caller): ObservedCall {
  const traced = activeTrace() !== undefined;
  return observeCall({ path: method.path, kind: SpanKind.CLIENT, seconds: metrics.called, traced });
}

function throwIfCancelled(signal: AbortSignal | undefined, where: string): void {
  if (!signal?.aborted) return;
  throw new ParleyError('CANCELLED', `Call was cancelled: ${where}`, { cause: signal.reason });
}

function metadataOf({ headers }: Caller, options: CallOptions, { span }: ObservedCall): Metadata {
  const metadata = new Metadata();
  const all = { ...(span && traceHeaders(span)), ...headers?.(), ...options.headers };
  for (const [key, value] of Object.entries(all)) metadata.set(key, value);
  return metadata;
}

function callOptionsOf({ deadlineMs }: Caller, options: CallOptions): GrpcCallOptions {
  return { deadline: Date.now() + (options.deadlineMs ?? deadlineMs) };
}

/**
 * A server that is forced down resets its streams with CANCEL, which grpc-js reports as CANCELLED. To a caller that
 * cancelled nothing, that is a loss of the service.
 */
function callError(error: ServiceError, where: string, signal: AbortSignal | undefined): ParleyError {
  if (codeName(error.code) !== 'CANCELLED' || signal?.aborted) return fromServiceError(error, where);
  const options = { details: { where }, cause: error };
  return new ParleyError(
    'SERVICE_UNAVAILABLE',
    `The service ended the call before answering: ${where}`,
    options,
  );
}

function isServiceError(thrown: unknown): thrown is ServiceError {
  return (
    thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'number' && 'details' in thrown
  );
}
