import { parentPort, workerData } from 'node:worker_threads';
import { createEngine } from './engine.js';
import type { Engine } from './engine.js';
import { LmError } from './lm-error.js';
import type { Completion } from './language-model.js';
import { toWire } from './protocol.js';
import type { FromWorker, ToWorker, WorkerSetup } from './protocol.js';
import { rehearse } from './rehearse.js';

/**
 * The thread that owns a model. onnxruntime's `run` blocks its event loop, so nothing else may live here. Calls begin in the order
 * in which they came, each when the one before it has ended; only a generation lets the next call begin at once, and goes on in
 * the running batch. Between passes the thread looks for messages, so that `abort` can overtake.
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
  /** Generations under way. */
  const under = new Set<Promise<void>>();
  port.on('message', (message: ToWorker) => {
    switch (message.kind) {
      case 'call': {
        const abort = new AbortController();
        aborts.set(message.id, abort);
        queue = queue.then(() => {
          const answered = answer(message, abort.signal);
          if (message.method !== 'generate') return answered;
          under.add(answered);
          void answered.then(() => under.delete(answered));
          return undefined;
        });
        return;
      }
      case 'abort':
        aborts.get(message.id)?.abort();
        return;
      case 'close':
        queue = queue.then(async () => {
          await Promise.all(under);
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
      await engine.importState(call.arguments.weights, call.arguments.optimizer);
      return { value: null, transfer: [] };
    case 'checkParity':
      return { value: await engine.checkParity(), transfer: [] };
    case 'anchorTo':
      engine.anchorTo(call.arguments.target);
      return { value: null, transfer: [] };
    case 'exportMerged': {
      const tensors = engine.exportMerged();
      return { value: tensors, transfer: [...tensors.values()].map((t) => t.data.buffer as ArrayBuffer) };
    }
  }
}

await serve();
