import type {
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape,
} from '@bufbuild/protobuf';
import { Client as GrpcClient, Metadata, credentials } from '@grpc/grpc-js';
import type { CallOptions as GrpcCallOptions, ChannelCredentials, ServiceError } from '@grpc/grpc-js';
import { ParleyError, codeName } from './errors.js';
import { deferred } from './deadline.js';
import { MAX_MESSAGE_BYTES, methodDefinition, methodNames } from './grpc-bridge.js';
import type { AnyInit, AnyMessage } from './grpc-bridge.js';
import { fromServiceError } from './service-error.js';

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
  const methods = methodNames(service).map((name) => {
    const method = methodDefinition(service, name);
    const where = `${options.label ?? service.typeName} at ${address}, method ${service.method[name]?.name}`;
    const caller = { grpc, method, where, deadlineMs: options.deadlineMs };
    return [name, method.responseStream ? streamCaller(caller) : unaryCaller(caller)] as const;
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

interface Caller {
  grpc: GrpcClient;
  method: ReturnType<typeof methodDefinition>;
  where: string;
  deadlineMs: number;
}

function unaryCaller({ grpc, method, where, deadlineMs }: Caller) {
  return async (request: AnyInit, options: CallOptions = {}): Promise<AnyMessage> => {
    throwIfCancelled(options.signal, where);
    const { promise, resolve, reject } = deferred<AnyMessage>();
    const settle = (error: ServiceError | null, response?: AnyMessage) => {
      if (error) reject(callError(error, where, options.signal));
      else if (response) resolve(response);
    };
    const { path, requestSerialize, responseDeserialize } = method;
    const [metadata, callOptions] = [metadataOf(options), callOptionsOf(options, deadlineMs)];
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
      return await promise;
    } finally {
      options.signal?.removeEventListener('abort', cancel);
    }
  };
}

function streamCaller({ grpc, method, where, deadlineMs }: Caller) {
  return async function* (request: AnyInit, options: CallOptions = {}): AsyncGenerator<AnyMessage> {
    throwIfCancelled(options.signal, where);
    const { path, requestSerialize, responseDeserialize } = method;
    const [metadata, callOptions] = [metadataOf(options), callOptionsOf(options, deadlineMs)];
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
    } catch (error) {
      throw isServiceError(error) ? callError(error, where, options.signal) : error;
    } finally {
      options.signal?.removeEventListener('abort', cancel);
      call.cancel();
    }
  };
}

function throwIfCancelled(signal: AbortSignal | undefined, where: string): void {
  if (!signal?.aborted) return;
  throw new ParleyError('CANCELLED', `Call was cancelled: ${where}`, { cause: signal.reason });
}

function metadataOf({ headers = {} }: CallOptions): Metadata {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(headers)) metadata.set(key, value);
  return metadata;
}

function callOptionsOf(options: CallOptions, defaultDeadlineMs: number): GrpcCallOptions {
  return { deadline: Date.now() + (options.deadlineMs ?? defaultDeadlineMs) };
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
