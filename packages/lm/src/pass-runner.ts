import { GraphError, createSession, createTensor } from '@parley/graph';
import type { Device, Session, Tensor } from '@parley/graph';
import type { PassGraph } from './inference-graphs.js';
import { LmError } from './lm-error.js';

/** Weights as feeds, by Hugging Face name. Shared by all sessions: feeds are not copied. */
export type WeightFeeds = Readonly<Record<string, Tensor>>;

/** A compiled pass. */
export interface Pass {
  /** Runs it with the parameters it needs taken from `weights`. */
  run(
    weights: WeightFeeds,
    feeds: Readonly<Record<string, Tensor>>,
    fetches?: Readonly<Record<string, Tensor | null>>,
  ): Promise<Record<string, Tensor>>;
}

/** Sessions compiled on first use; the least recently used is released when there are too many. */
export interface PassRunner {
  readonly device: Device;
  readonly threads: number;
  pass(key: string, build: () => PassGraph): Promise<Pass>;
  dispose(): Promise<void>;
}

/** How sessions run. */
export interface RunnerOptions {
  readonly device: Device;
  readonly threads: number;
  readonly spinning: boolean;
}

/** Sessions kept: the four of inference and a handful of training shapes. */
const maxSessions = 12;

/** An empty set of sessions. */
export function createPassRunner(options: RunnerOptions): PassRunner {
  const compiled = new Map<string, { readonly session: Session; readonly parameters: readonly string[] }>();
  const compile = async (key: string, build: () => PassGraph) => {
    const { graph, parameters } = build();
    const entry = { session: await createSession(graph, options), parameters };
    const [oldest] = compiled.keys();
    if (compiled.size >= maxSessions && oldest !== undefined) {
      await compiled.get(oldest)?.session.dispose();
      compiled.delete(oldest);
    }
    compiled.set(key, entry);
    return entry;
  };
  return {
    device: options.device,
    threads: options.threads,
    async pass(key, build) {
      const entry = compiled.get(key) ?? (await compile(key, build));
      // A Map keeps the order of insertion, so that its first entry is the least recently used.
      compiled.delete(key);
      compiled.set(key, entry);
      return {
        run(weights, feeds, fetches) {
          const all: Record<string, Tensor> = { ...feeds };
          for (const name of entry.parameters) all[name] = weights[name];
          return entry.session.run(all, fetches).catch(strayed(key, options.device));
        },
      };
    },
    async dispose() {
      const sessions = [...compiled.values()];
      compiled.clear();
      for (const { session } of sessions) await session.dispose();
    },
  };
}

/** Turns the refusal of a pass whose operators did not run on the device into one that a caller can act on. */
function strayed(key: string, device: Device): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof GraphError && error.op === 'placement')) throw error;
    throw new LmError('EXECUTION_PROVIDER_UNAVAILABLE', `pass "${key}": ${error.message}`, {
      details: { device, pass: key },
      cause: error,
    });
  };
}

/** Wraps weights without copying them. */
export function weightFeeds(
  weights: ReadonlyMap<string, Float32Array>,
  shapes: ReadonlyMap<string, readonly number[]>,
): WeightFeeds {
  return Object.fromEntries(
    [...weights].map(([name, data]) => [name, createTensor('float32', shapes.get(name)!, data)]),
  );
}

/** An int64 tensor of small integers. */
export function int64Tensor(values: ArrayLike<number>, shape: readonly number[]): Tensor {
  const data = new BigInt64Array(values.length);
  for (let i = 0; i < values.length; i++) data[i] = BigInt(values[i]);
  return createTensor('int64', shape, data);
}
