/**
 * The reasons this package fails for, in the form that travels on the wire as `google.rpc.ErrorInfo.reason`. A service
 * maps each to a gRPC code; nothing here knows of gRPC.
 */
export type LmErrorReason =
  | 'FILE_MISSING'
  | 'FILE_UNREADABLE'
  | 'FILE_NOT_WRITTEN'
  | 'JSON_INVALID'
  | 'SAFETENSORS_INVALID'
  | 'SAFETENSORS_TRUNCATED'
  | 'TENSOR_MISSING'
  | 'TENSOR_UNEXPECTED'
  | 'TENSOR_SHAPE_MISMATCH'
  | 'TENSOR_DTYPE_UNSUPPORTED'
  | 'TENSOR_NOT_FINITE'
  | 'SHARD_MISSING'
  | 'ARCHITECTURE_UNKNOWN'
  | 'CONFIG_INVALID'
  | 'TOKENIZER_INVALID'
  | 'TOKENIZER_VOCABULARY_MISMATCH'
  | 'CHAT_TEMPLATE_INVALID'
  | 'CONTEXT_EXCEEDED'
  | 'PROMPT_TOO_LONG'
  | 'WEIGHT_NOT_FINITE'
  | 'GRADIENT_NOT_FINITE'
  | 'MEMORY_EXCEEDED'
  | 'PARITY_BROKEN'
  | 'STATE_MISMATCH'
  | 'ABORTED'
  | 'MODEL_CLOSED'
  | 'EXECUTION_PROVIDER_UNAVAILABLE'
  | 'ARGUMENT_INVALID'
  | 'WORKER_FAILED';

/**
 * Every failure of this package that a caller can act on. `message` names the thing and the remedy; `reason` is stable
 * and machine-readable; `details` holds the values of the message for logs and `ErrorInfo.metadata`.
 */
export class LmError extends Error {
  override readonly name = 'LmError';
  readonly reason: LmErrorReason;
  readonly details: Readonly<Record<string, string | number>>;

  constructor(
    reason: LmErrorReason,
    message: string,
    options: { details?: Record<string, string | number>; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = reason;
    this.details = Object.freeze({ ...options.details });
  }
}
