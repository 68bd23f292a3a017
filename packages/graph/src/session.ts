import './no-telemetry.js';
import { InferenceSession, listSupportedBackends } from 'onnxruntime-node';
import type { Tensor } from 'onnxruntime-node';
import { createGraph } from './graph.js';
import { GraphError } from './graph-error.js';
import { toModelBytes } from './model-bytes.js';
import { formatShape } from './shape.js';
import type { SubgraphSource } from './value.js';

/** Where a session computes. */
export type Device = 'cpu' | 'webgpu' | 'cuda' | 'coreml' | 'dml';

/** Options of {@link createSession}. */
export interface SessionOptions {
  /** Threads inside one operator; onnxruntime's choice (one a physical core) when left out. */
  readonly threads?: number;
  /** Whether idle threads spin. Two spinning sessions on the same cores halve each other. Default `true`. */
  readonly spinning?: boolean;
  /** Default `cpu`. Any other device that cannot run is an error, never a silent fall-back to the CPU. */
  readonly device?: Device;
  /** Graph optimisation level. Default `all`. */
  readonly optimization?: 'disabled' | 'basic' | 'extended' | 'layout' | 'all';
  /** Plan all activations in one arena block: faster to allocate, up to half more memory. Default `false`. */
  readonly memoryPattern?: boolean;
  /**
   * Refuse to create the session when any operator would run on the CPU instead of `device`. Default `false`: single
   * operators a device lacks (shape arithmetic, most often) may run on the CPU. Without meaning on `cpu`.
   */
  readonly refuseCpuFallback?: boolean;
}

/** A loaded model. `run` blocks the calling thread's event loop while it computes. */
export interface Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  /** The device whose presence was verified when the session was created. */
  readonly device: Device;
  /**
   * Computes the fetched outputs: names, or names with tensors to write into (`null`: allocate). All outputs when
   * `fetches` is left out. Fetching fewer outputs does not compute less.
   * @throws GraphError naming a feed that is missing or of the wrong type or shape, or an unknown fetch.
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
 * @throws GraphError when the device is not present, or the model is invalid.
 */
export async function createSession(model: ModelSource, options: SessionOptions = {}): Promise<Session> {
  const device = options.device ?? 'cpu';
  if (device !== 'cpu') await assertDevice(device);
  const source = typeof model === 'string' || model instanceof Uint8Array ? model : toModelBytes(model);
  const strict = device !== 'cpu' && (options.refuseCpuFallback ?? false);
  const session = await load(source, ortOptions(options, strict));
  let disposal: Promise<void> | undefined;
  const dispose = () => (disposal ??= session.release());

  return {
    inputNames: session.inputNames,
    outputNames: session.outputNames,
    device,
    async run(feeds, fetches) {
      if (disposal) throw new GraphError('run', 'run: the session is disposed');
      for (const metadata of session.inputMetadata) checkFeed(metadata, feeds[metadata.name]);
      const wanted = fetches ?? session.outputNames;
      const names = Array.isArray(wanted) ? (wanted as readonly string[]) : Object.keys(wanted);
      for (const name of names)
        if (!session.outputNames.includes(name))
          throw new GraphError('run', `run: the model has no output "${name}"`);
      const results = await compute(session, feeds, wanted);
      return Object.fromEntries(names.map((name) => [name, given(wanted, name) ?? results[name]]));
    },
    dispose,
    [Symbol.asyncDispose]: dispose,
  };
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

function ortOptions(options: SessionOptions, refuseCpuFallback: boolean): InferenceSession.SessionOptions {
  const extra: Record<string, string> = {
    'session.intra_op.allow_spinning': options.spinning === false ? '0' : '1',
  };
  if (refuseCpuFallback) extra['session.disable_cpu_ep_fallback'] = '1';
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
): Promise<InferenceSession> {
  try {
    return typeof source === 'string'
      ? await InferenceSession.create(source, options)
      : await InferenceSession.create(source, options);
  } catch (cause) {
    throw new GraphError('session', `onnxruntime refused the model: ${messageOf(cause)}`, { cause });
  }
}

/** Runs one multiplication on the device with the CPU forbidden, so that a silent fall-back cannot pass. */
async function assertDevice(device: Device): Promise<void> {
  const supported = listSupportedBackends().map((backend) => backend.name);
  if (!supported.includes(device))
    throw new GraphError(
      'session',
      `device "${device}" is not in this onnxruntime-node build (it has ${supported.join(', ')}); ` +
        `use device "cpu" or install a build with ${device}`,
    );
  const probe = createGraph('device-probe');
  const x = probe.input('x', [2, 2]);
  probe.output(probe.matMul(x, x), 'y');
  try {
    const session = await InferenceSession.create(toModelBytes(probe), ortOptions({ device }, true));
    await session.release();
  } catch (cause) {
    throw new GraphError(
      'session',
      `device "${device}" was asked for but cannot run here: ${messageOf(cause)}; use device "cpu" or mend the driver`,
      { cause },
    );
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
