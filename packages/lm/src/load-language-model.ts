import { Worker } from 'node:worker_threads';
import { LmError } from './lm-error.js';
import { fromWire } from './protocol.js';
import type { EngineCalls, EngineMethod, FromWorker, ToWorker, WorkerSetup } from './protocol.js';
import type {
  Completion,
  EngineOptions,
  InitOptions,
  LanguageModel,
  LanguageModelInfo,
  LoadOptions,
} from './language-model.js';

/**
 * Loads a Hugging Face model folder into a worker thread.
 * @throws LmError what loading the folder reports (`FILE_MISSING`, `TENSOR_SHAPE_MISMATCH`, `ARCHITECTURE_UNKNOWN`, …),
 * `EXECUTION_PROVIDER_UNAVAILABLE`, `ARGUMENT_INVALID`.
 */
export function loadLanguageModel(options: LoadOptions): Promise<LanguageModel> {
  const { folder, onProgress, ...engine } = options;
  return openModel({ source: { kind: 'folder', folder }, options: engineOptions(engine) }, onProgress);
}

/**
 * Starts a model from a configuration and random weights, for training from scratch: matrices and embeddings normal with
 * the configuration's `initializer_range`, norms neutral, biases zero, except where `weights` gives a value.
 * @throws LmError as {@link loadLanguageModel}, and `TENSOR_UNEXPECTED`, `TENSOR_SHAPE_MISMATCH` for `weights`.
 */
export function initLanguageModel(options: InitOptions): Promise<LanguageModel> {
  const { config, seed, weights, ...engine } = options;
  const source = { kind: 'memory', config, seed, weights: weights ?? new Map() } as const;
  return openModel({ source, options: engineOptions(engine) });
}

const engineFields = [
  'device',
  'threads',
  'spinning',
  'trainable',
  'quantization',
  'maxBatch',
  'maxBatchTokens',
  'recompute',
  'memoryBytes',
] as const satisfies readonly (keyof EngineOptions)[];

/** Keeps only the engine's own fields, so that a caller's extra properties never reach structured cloning. */
function engineOptions(o: EngineOptions): EngineOptions {
  return Object.fromEntries(engineFields.flatMap((name) => (o[name] === undefined ? [] : [[name, o[name]]])));
}

interface PendingCall {
  resolve(value: never): void;
  reject(error: Error): void;
  onCompletion?: (index: number, completion: Completion) => void;
}

function openModel(setup: WorkerSetup, onProgress?: (fraction: number) => void): Promise<LanguageModel> {
  const worker = new Worker(new URL('./engine-worker.js', import.meta.url), { workerData: setup });
  const pending = new Map<number, PendingCall>();
  let info: LanguageModelInfo | undefined;
  let nextId = 0;
  let ended: LmError | undefined;
  let closing: Promise<void> | undefined;
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  const post = (message: ToWorker): void => worker.postMessage(message);

  const call = <M extends EngineMethod>(
    method: M,
    args: EngineCalls[M]['arguments'],
    hooks: Pick<PendingCall, 'onCompletion'> & { signal?: AbortSignal } = {},
  ): Promise<EngineCalls[M]['result']> => {
    if (ended) return Promise.reject(ended);
    if (closing) return Promise.reject(closedError());
    const { signal, onCompletion } = hooks;
    if (signal?.aborted) return Promise.reject(abortedError(signal));
    const id = nextId++;
    const abort = (): void => post({ kind: 'abort', id });
    signal?.addEventListener('abort', abort, { once: true });
    return new Promise<EngineCalls[M]['result']>((resolve, reject) => {
      pending.set(id, { resolve, reject, ...(onCompletion ? { onCompletion } : {}) });
      post({ kind: 'call', id, method, arguments: args } as ToWorker);
    }).finally(() => signal?.removeEventListener('abort', abort));
  };

  const model: LanguageModel = {
    get info() {
      return info!;
    },
    generate: (items, options, hooks = {}) => {
      const { signal } = hooks;
      return call(
        'generate',
        { items, options },
        {
          ...(signal ? { signal } : {}),
          ...(hooks.onCompletion
            ? { onCompletion: (index, completion) => hooks.onCompletion?.(index, completion) }
            : {}),
        },
      );
    },
    score: (items, options = {}) => call('score', { items, reference: options.reference ?? false }),
    trainStep: (batch, settings) => call('trainStep', { batch, settings }),
    exportState: () => call('exportState', null),
    importState: async ({ weights, optimizer }) => {
      await call('importState', { weights, optimizer: optimizer ?? null });
    },
    checkParity: () => call('checkParity', null),
    anchorTo: async (target) => {
      await call('anchorTo', { target });
    },
    exportMerged: () => call('exportMerged', null),
    close: () => {
      closing ??= (ended ? Promise.resolve() : Promise.resolve(post({ kind: 'close' }))).then(() => exited);
      return closing;
    },
    [Symbol.asyncDispose]: () => model.close(),
  };

  return new Promise<LanguageModel>((resolve, reject) => {
    const fail = (error: LmError): void => {
      ended ??= error;
      for (const waiting of pending.values()) waiting.reject(ended);
      pending.clear();
      reject(ended);
    };
    worker.on('message', (message: FromWorker) => {
      switch (message.kind) {
        case 'progress':
          onProgress?.(message.fraction);
          return;
        case 'ready':
          info = message.info;
          resolve(model);
          return;
        case 'refused':
          // The thread ends by itself; its exit rejects with this.
          ended = fromWire(message.error);
          return;
        case 'completion':
          pending.get(message.id)?.onCompletion?.(message.index, message.completion);
          return;
        case 'result':
          info = message.info;
          pending.get(message.id)?.resolve(message.value as never);
          pending.delete(message.id);
          return;
        case 'failure':
          pending.get(message.id)?.reject(fromWire(message.error));
          pending.delete(message.id);
      }
    });
    worker.once('error', (cause) => {
      const message = `The engine's worker thread failed: ${cause instanceof Error ? cause.message : String(cause)}`;
      fail(new LmError('WORKER_FAILED', message, { cause }));
    });
    worker.once('exit', (code) =>
      fail(
        closing
          ? closedError()
          : new LmError('WORKER_FAILED', `The engine's worker thread exited (code ${code}).`),
      ),
    );
  });
}

function closedError(): LmError {
  return new LmError('MODEL_CLOSED', 'The model was closed; load it again to use it.');
}

function abortedError(signal: AbortSignal): LmError {
  return new LmError('ABORTED', 'The generation was aborted by its caller.', { cause: signal.reason });
}
