import { LmError } from './lm-error.js';
import type { LmErrorReason } from './lm-error.js';
import type { ModelConfig } from './config.js';
import type {
  AnchorTarget,
  Completion,
  EngineOptions,
  GenerateItem,
  GenerateOptions,
  LanguageModelInfo,
  ModelState,
  Score,
  ScoreItem,
  Tensor,
  TrainSequence,
  TrainStep,
} from './language-model.js';
import type { OptimizerSettings } from './adamw.js';

/** Where a worker takes its weights from. */
export type ModelSource =
  | { readonly kind: 'folder'; readonly folder: string }
  | {
      readonly kind: 'memory';
      readonly config: ModelConfig;
      readonly seed: number;
      readonly weights: ReadonlyMap<string, Tensor>;
    };

/** `workerData` of an engine worker. */
export interface WorkerSetup {
  readonly source: ModelSource;
  readonly options: EngineOptions;
}

/** The calls a worker serves: arguments and result of each. */
export interface EngineCalls {
  generate: {
    arguments: { readonly items: readonly GenerateItem[]; readonly options: GenerateOptions };
    result: Completion[];
  };
  score: {
    arguments: { readonly items: readonly ScoreItem[]; readonly reference: boolean };
    result: Score[];
  };
  trainStep: {
    arguments: { readonly batch: readonly TrainSequence[]; readonly settings: OptimizerSettings };
    result: TrainStep;
  };
  exportState: { arguments: null; result: ModelState };
  importState: {
    arguments: { readonly weights: Uint8Array; readonly optimizer: Uint8Array | null };
    result: null;
  };
  checkParity: { arguments: null; result: number };
  anchorTo: { arguments: { readonly target: AnchorTarget }; result: null };
  exportMerged: { arguments: null; result: Map<string, Tensor> };
}

/** Name of a call. */
export type EngineMethod = keyof EngineCalls;

/** Main thread to worker. Calls are served in order; `abort` overtakes them. */
export type ToWorker =
  | {
      [M in EngineMethod]: {
        readonly kind: 'call';
        readonly id: number;
        readonly method: M;
        readonly arguments: EngineCalls[M]['arguments'];
      };
    }[EngineMethod]
  | { readonly kind: 'abort'; readonly id: number }
  | { readonly kind: 'close' };

/** Worker to main thread. `info` rides along because a step or an import changes it. */
export type FromWorker =
  | { readonly kind: 'progress'; readonly fraction: number }
  | { readonly kind: 'ready'; readonly info: LanguageModelInfo }
  | { readonly kind: 'refused'; readonly error: WireError }
  | {
      readonly kind: 'completion';
      readonly id: number;
      readonly index: number;
      readonly completion: Completion;
    }
  | {
      readonly kind: 'result';
      readonly id: number;
      readonly value: unknown;
      readonly info: LanguageModelInfo;
    }
  | { readonly kind: 'failure'; readonly id: number; readonly error: WireError };

/** An error as it crosses the thread boundary: structured cloning would strip `reason` and `details`. */
export interface WireError {
  readonly reason: LmErrorReason;
  readonly message: string;
  readonly details: Readonly<Record<string, string | number>>;
  readonly stack: string | null;
}

/** Prepares any thrown value for {@link fromWire}; a foreign error becomes `WORKER_FAILED` with its message. */
export function toWire(error: unknown): WireError {
  if (error instanceof LmError) {
    return {
      reason: error.reason,
      message: error.message,
      details: error.details,
      stack: error.stack ?? null,
    };
  }
  const message = error instanceof Error ? error.message : String(error);
  const stack = error instanceof Error ? (error.stack ?? null) : null;
  return { reason: 'WORKER_FAILED', message: `The engine failed: ${message}`, details: {}, stack };
}

/** The error that {@link toWire} described. */
export function fromWire(wire: WireError): LmError {
  const error = new LmError(wire.reason, wire.message, { details: { ...wire.details } });
  if (wire.stack !== null) error.stack = wire.stack;
  return error;
}
