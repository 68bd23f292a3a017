import { LmError } from '@parley/lm';
import type { LmErrorReason } from '@parley/lm';
import { ParleyError } from '@parley/runtime';
import type { Reason } from '@parley/runtime';

/** The registry's reason for each way in which the engine fails. */
const REASONS: Readonly<Record<LmErrorReason, Reason>> = {
  FILE_MISSING: 'CHECKPOINT_INVALID',
  FILE_UNREADABLE: 'CHECKPOINT_INVALID',
  FILE_NOT_WRITTEN: 'INTERNAL',
  JSON_INVALID: 'CHECKPOINT_INVALID',
  SAFETENSORS_INVALID: 'CHECKPOINT_INVALID',
  SAFETENSORS_TRUNCATED: 'CHECKPOINT_INVALID',
  SHARD_MISSING: 'CHECKPOINT_INVALID',
  CONFIG_INVALID: 'CHECKPOINT_INVALID',
  CHAT_TEMPLATE_INVALID: 'CHECKPOINT_INVALID',
  TENSOR_MISSING: 'TENSOR_INVALID',
  TENSOR_UNEXPECTED: 'TENSOR_INVALID',
  TENSOR_SHAPE_MISMATCH: 'TENSOR_INVALID',
  TENSOR_DTYPE_UNSUPPORTED: 'TENSOR_INVALID',
  TENSOR_NOT_FINITE: 'TENSOR_INVALID',
  STATE_MISMATCH: 'TENSOR_INVALID',
  ARCHITECTURE_UNKNOWN: 'ARCHITECTURE_UNKNOWN',
  TOKENIZER_INVALID: 'TOKENIZER_MISMATCH',
  TOKENIZER_VOCABULARY_MISMATCH: 'TOKENIZER_MISMATCH',
  CONTEXT_EXCEEDED: 'PROMPT_TOO_LONG',
  PROMPT_TOO_LONG: 'PROMPT_TOO_LONG',
  WEIGHT_NOT_FINITE: 'WEIGHT_NOT_FINITE',
  // The same update would diverge again: it is the update that will never do.
  GRADIENT_NOT_FINITE: 'TRAINING_DIVERGED',
  MEMORY_EXCEEDED: 'MEMORY_EXCEEDED',
  PARITY_BROKEN: 'PARITY_BROKEN',
  ABORTED: 'CANCELLED',
  MODEL_CLOSED: 'SHUTTING_DOWN',
  EXECUTION_PROVIDER_UNAVAILABLE: 'CONFIG_INVALID',
  ARGUMENT_INVALID: 'INTERNAL',
  WORKER_FAILED: 'INTERNAL',
};

/** What the engine threw, as Parley reports it; anything else as it is. */
export function fromLmError(thrown: unknown): unknown {
  if (!(thrown instanceof LmError)) return thrown;
  const details = Object.fromEntries(
    Object.entries(thrown.details).map(([key, value]) => [key, String(value)]),
  );
  return new ParleyError(REASONS[thrown.reason], thrown.message, { details, cause: thrown });
}

/** Runs work of the engine and reports its failures as {@link ParleyError}s. */
export async function mappingLmErrors<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw fromLmError(error);
  }
}
