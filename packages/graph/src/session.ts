import './no-telemetry.js';
import { InferenceSession } from 'onnxruntime-node';
import type { Tensor } from 'onnxruntime-node';
import { GraphError } from './graph-error.js';
import { toModelBytes } from './model-bytes.js';
import { createPlacementProbe, describeStrays } from './node-placement.js';
import type { PlacementProbe, StrayNode } from './node-placement.js';
import { formatShape } from './shape.js';
import type { SubgraphSource } from './value.js';
import { lowerForWebGpu } from './webgpu-lowering.js';

/** Where a session computes. */
export type Device = 'cpu' | 'webgpu' | 'cuda' | 'coreml' | 'dml';

/** Options of {@link createSession}. */
export interface SessionOptions {
  /** Threads inside one operator; onnxruntime's choice (one a physical core) when left out. */
  readonly threads?: number;
  /**
   * Whether idle threads spin while a run is under way; they stop when it ends, or the threads of one session would take the cores
   * from the next one's. Two processes whose threads spin on the same cores halve each other. Default `true`.
   */
  readonly spinning?: boolean;
  /**
   * Default `cpu`. On any other device the first run finds out where each operator ran; one that computed floating-point
   * numbers on the CPU instead is an error, never a silent fall-back.
   */
  readonly device?: Device;
  /** Graph optimisation level. Default `all`. */
  readonly optimization?: 'disabled' | 'basic' | 'extended' | 'layout' | 'all';
  /** Plan all activations in one arena block: faster to allocate, up to half more memory. Default `false`. */
  readonly memoryPattern?: boolean;
}

/** A loaded model. `run` blocks the calling thread's event loop while it computes. */
export interface Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  /** Where it computes. */
  readonly device: Device;
  /**
   * Computes the fetched outputs: names, or names with tensors to write into (`null`: allocate). All outputs when
   * `fetches` is left out. Fetching fewer outputs does not compute less.
   * @throws GraphError naming a feed that is missing or of the wrong type or shape, an unknown fetch, or (as `placement`)
   * operators that did not run on the device.
   */
  run(
    feeds: Readonly<Record<string, Tensor>>,
    fetches?: readonly string[] | Readonly<Record<string, Tensor | null>>,
  ): Promise<Record<string, Tensor>>;
  /** Frees native memory. Idempotent. */
  dispose(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A graph, serialised model bytes, or the path of a model file (needed for external data). */
export type ModelSource = SubgraphSource | Uint8Array | string;

/**
 * Loads a model through onnxruntime-node's public API.
 * @throws GraphError when the device is not present ({@link assertDevice} says more), or the model is invalid.
 */
export async function createSession(model: ModelSource, options: SessionOptions = {}): Promise<Session> {
  const device = options.device ?? 'cpu';
  const probe = device === 'cpu' ? undefined : createPlacementProbe();
  const session = await load(sourceOf(model, device), { ...ortOptions(options), ...probe?.options }, probe);
  let unproven = probe;
  let refusal: GraphError | undefined;
  let disposal: Promise<void> | undefined;
  const dispose = () =>
    (disposal ??= session.release().finally(() => {
      unproven?.discard();
    }));

  return {
    inputNames: session.inputNames,
    outputNames: session.outputNames,
    device,
    async run(feeds, fetches) {
      if (disposal) throw new GraphError('run', 'run: the session is disposed');
      if (refusal) throw refusal;
      for (const metadata of session.inputMetadata) checkFeed(metadata, feeds[metadata.name]);
      const wanted = fetches ?? session.outputNames;
      const names = Array.isArray(wanted) ? (wanted as readonly string[]) : Object.keys(wanted);
      for (const name of names)
        if (!session.outputNames.includes(name))
          throw new GraphError('run', `run: the model has no output "${name}"`);
      const results = await compute(session, feeds, wanted);
      const strays = unproven?.finish(session) ?? [];
      unproven = undefined;
      if (strays.length > 0) throw (refusal = misplaced(device, strays));
      return Object.fromEntries(names.map((name) => [name, given(wanted, name) ?? results[name]]));
    },
    dispose,
    [Symbol.asyncDispose]: dispose,
  };
}

function sourceOf(model: ModelSource, device: Device): Uint8Array | string {
  if (typeof model === 'string' || model instanceof Uint8Array) return model;
  return toModelBytes(model, device === 'webgpu' ? { lower: lowerForWebGpu } : {});
}

function misplaced(device: Device, strays: readonly StrayNode[]): GraphError {
  return new GraphError(
    'placement',
    `device "${device}" has no kernel for ${strays.length} of the model's operators, which ran on the CPU: ` +
      `${describeStrays(strays)}; use device "cpu", or express them by operators that the device has`,
  );
}

type Fetches = readonly string[] | Readonly<Record<string, Tensor | null>>;

/** The tensor the caller wants an output written into. */
function given(wanted: Fetches, name: string): Tensor | null | undefined {
  return Array.isArray(wanted) ? undefined : (wanted as Readonly<Record<string, Tensor | null>>)[name];
}

async function compute(
  session: InferenceSession,
  feeds: Readonly<Record<string, Tensor>>,
  wanted: Fetches,
): Promise<Record<string, Tensor>> {
  try {
    return await session.run(feeds, wanted as readonly string[]);
  } catch (cause) {
    throw new GraphError('run', `run: onnxruntime failed: ${messageOf(cause)}`, { cause });
  }
}

/** onnxruntime's own message for a feed of the wrong type does not say which input it was. */
function checkFeed(metadata: InferenceSession.ValueMetadata, feed: Tensor | undefined): void {
  const { name } = metadata;
  if (!feed) throw new GraphError('run', `run: the input "${name}" is not fed`);
  if (!metadata.isTensor) return;
  const { type, shape } = metadata;
  const fits =
    feed.dims.length === shape.length &&
    shape.every((dim, i) => typeof dim === 'string' || dim === feed.dims[i]);
  if (feed.type !== type || !fits)
    throw new GraphError(
      'run',
      `run: the input "${name}" takes ${type} ${formatShape(shape)}, got ${feed.type} ${formatShape(feed.dims)}`,
    );
}

function ortOptions(options: SessionOptions): InferenceSession.SessionOptions {
  const extra = {
    'session.intra_op.allow_spinning': options.spinning === false ? '0' : '1',
    'session.force_spinning_stop': '1',
  };
  return {
    executionProviders: [options.device ?? 'cpu'],
    graphOptimizationLevel: options.optimization ?? 'all',
    enableMemPattern: options.memoryPattern ?? false,
    logSeverityLevel: 4,
    ...(options.threads === undefined ? {} : { intraOpNumThreads: options.threads }),
    extra,
  };
}

async function load(
  source: Uint8Array | string,
  options: InferenceSession.SessionOptions,
  probe: PlacementProbe | undefined,
): Promise<InferenceSession> {
  try {
    return typeof source === 'string'
      ? await InferenceSession.create(source, options)
      : await InferenceSession.create(source, options);
  } catch (cause) {
    probe?.discard();
    throw new GraphError('session', `onnxruntime refused the model: ${messageOf(cause)}`, { cause });
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
