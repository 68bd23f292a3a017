import { parentPort, workerData } from 'node:worker_threads';
import { createEngine } from './engine.js';
import type { Engine } from './engine.js';
import { LmError } from './lm-error.js';
import type { Completion } from './language-model.js';
import { toWire } from './protocol.js';
import type { FromWorker, ToWorker, WorkerSetup } from './protocol.js';
import { rehearse } from './rehearse.js';

/**
 * The thread that owns a model. onnxruntime's `run` blocks its event loop, so nothing else may live here; calls queue
 * up and are served one by one, and each engine step yields once so that `abort` can overtake.
 */
async function serve(): Promise<void> {
  if (!parentPort) throw new Error('engine-worker runs as a worker thread only');
  const port = parentPort;
  const post = (message: FromWorker, transfer: ArrayBuffer[] = []): void =>
    port.postMessage(message, transfer);
  const { source, options } = workerData as WorkerSetup;
  const aborts = new Map<number, AbortController>();
  let engine: Engine;
  try {
    engine = await createEngine(source, options, (fraction) => post({ kind: 'progress', fraction }));
    if (engine.info().device !== 'cpu') await rehearse(engine);
  } catch (error) {
    post({ kind: 'refused', error: toWire(error) });
    return;
  }
  let queue = Promise.resolve();
  port.on('message', (message: ToWorker) => {
    switch (message.kind) {
      case 'call': {
        const abort = new AbortController();
        aborts.set(message.id, abort);
        queue = queue.then(() => answer(message, abort.signal));
        return;
      }
      case 'abort':
        aborts.get(message.id)?.abort();
        return;
      case 'close':
        queue = queue.then(async () => {
          port.close();
          await engine.close();
        });
    }
  });
  post({ kind: 'ready', info: engine.info() });

  async function answer(call: ToWorker & { kind: 'call' }, signal: AbortSignal): Promise<void> {
    try {
      const { value, transfer } = await perform(engine, call, signal, post);
      post({ kind: 'result', id: call.id, value, info: engine.info() }, transfer);
    } catch (error) {
      post({ kind: 'failure', id: call.id, error: toWire(error) });
    } finally {
      aborts.delete(call.id);
    }
  }
}

interface Answer {
  readonly value: unknown;
  /** Buffers whose ownership moves to the main thread instead of being copied. */
  readonly transfer: ArrayBuffer[];
}

async function perform(
  engine: Engine,
  call: ToWorker & { kind: 'call' },
  signal: AbortSignal,
  post: (message: FromWorker) => void,
): Promise<Answer> {
  if (signal.aborted) throw new LmError('ABORTED', 'The call was aborted before it began.');
  switch (call.method) {
    case 'generate': {
      const { items, options } = call.arguments;
      const hooks = {
        signal,
        onCompletion: (index: number, completion: Completion): void =>
          post({ kind: 'completion', id: call.id, index, completion }),
      };
      return { value: await engine.generate(items, options, hooks), transfer: [] };
    }
    case 'score':
      return { value: await engine.score(call.arguments.items, call.arguments.reference), transfer: [] };
    case 'trainStep':
      return { value: await engine.trainStep(call.arguments.batch, call.arguments.settings), transfer: [] };
    case 'exportState': {
      const state = engine.exportState();
      return { value: state, transfer: [state.weights.buffer, state.optimizer.buffer] };
    }
    case 'importState':
      engine.importState(call.arguments.weights, call.arguments.optimizer);
      return { value: null, transfer: [] };
    case 'anchorTo':
      await engine.anchorTo(call.arguments.target);
      return { value: null, transfer: [] };
    case 'exportMerged': {
      const tensors = await engine.exportMerged();
      return { value: tensors, transfer: [...tensors.values()].map((t) => t.data.buffer as ArrayBuffer) };
    }
  }
}

await serve();
