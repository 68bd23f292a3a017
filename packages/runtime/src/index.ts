export * from './atomic-file.js';
export * from './cleanup-stack.js';
export * as field from './config.js';
export { readConfig } from './config.js';
export type { ConfigOf, Env, Field, FieldOptions, ListenAddress } from './config.js';
export * from './deadline.js';
export * from './digest.js';
export * from './errors.js';
export * from './exit-code.js';
export { createClient } from './grpc-client.js';
export type { CallOptions, Client, ClientOptions, MethodClient } from './grpc-client.js';
export { MAX_MESSAGE_BYTES } from './grpc-bridge.js';
export { addService, implement } from './grpc-handler.js';
export type {
  Authorize,
  BoundService,
  CallContext,
  CallFacts,
  MethodHandler,
  ServiceImpl,
} from './grpc-handler.js';
export { startGrpcServer } from './grpc-server.js';
export type { GrpcServer, GrpcServerOptions } from './grpc-server.js';
export * from './identity.js';
export * from './lifecycle.js';
export * from './log.js';
export * from './metrics.js';
export { startMonitor } from './monitor.js';
export type { Monitor, MonitorOptions } from './monitor.js';
export * from './reasons.js';
export * from './retry.js';
export { RPC_METRICS, createRpcMetrics } from './rpc-observer.js';
export { fromServiceError, toServiceError } from './service-error.js';
export * from './tls.js';
export * from './tracing.js';
