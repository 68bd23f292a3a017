import type { Span, SpanKind, TraceHeaders } from './tracing.js';
import { failSpan, startSpan } from './tracing.js';
import { ParleyError } from './errors.js';
import { SECONDS_BUCKETS, createMetrics, histogram, startTimer } from './metrics.js';
import type { Metrics, Registry } from './metrics.js';

const LABELS = ['method', 'code'];

/** What is measured of calls, by full method name (`parley.v1.PeerService/Generate`) and gRPC status code. */
export const RPC_METRICS = {
  served: histogram('parley_rpc_server_seconds', 'Time from the arrival of a call to its end', {
    labels: LABELS,
    buckets: SECONDS_BUCKETS,
  }),
  called: histogram(
    'parley_rpc_client_seconds',
    'Time from the start of a call to its end, as its caller sees it',
    {
      labels: LABELS,
      buckets: SECONDS_BUCKETS,
    },
  ),
};

/** The metrics of calls in a registry; of one that nobody looks at unless given. */
export function createRpcMetrics(registry?: Registry): Metrics<typeof RPC_METRICS> {
  return createMetrics(RPC_METRICS, registry);
}

/** One call being watched. */
export interface ObservedCall {
  /** The call's span, if the call belongs to a trace. */
  readonly span: Span | undefined;
  /** Ends it, with what it failed for if it did. Idempotent. */
  end(failure?: { error: unknown }): void;
}

/** How a call is watched. */
export interface ObserveOptions {
  /** `/parley.v1.PeerService/Generate`. */
  path: string;
  kind: SpanKind;
  seconds: Metrics<typeof RPC_METRICS>['served'];
  traced: boolean;
  /** Headers of the caller, at the server. */
  parent?: TraceHeaders;
}

/** Measures a call and, where it belongs to a trace, gives it a span (OpenTelemetry semantic conventions for RPC). */
export function observeCall({ path, kind, seconds, traced, parent }: ObserveOptions): ObservedCall {
  const method = path.slice(1);
  const [service = '', name = ''] = method.split('/');
  const timer = startTimer();
  const span = traced
    ? startSpan(method, {
        kind,
        parent,
        attributes: { 'rpc.system': 'grpc', 'rpc.service': service, 'rpc.method': name },
      })
    : undefined;
  let ended = false;
  return {
    span,
    end(failure) {
      if (ended) return;
      ended = true;
      const code = failure ? ParleyError.from(failure.error).code : 'OK';
      seconds.observe({ method, code }, timer());
      if (span && failure) failSpan(span, failure.error);
      span?.setAttribute('rpc.grpc.status_code', code).end();
    },
  };
}
