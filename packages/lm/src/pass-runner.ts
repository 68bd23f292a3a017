import { createSession, createTensor } from '@parley/graph';
import type { Device, Session, Tensor } from '@parley/graph';
import type { PassGraph } from './inference-graphs.js';

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

/** Sessions compiled on first use and kept. */
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

/** An empty set of sessions. */
export function createPassRunner(options: RunnerOptions): PassRunner {
  const compiled = new Map<
    string,
    Promise<{ readonly session: Session; readonly parameters: readonly string[] }>
  >();
  const compile = async (build: () => PassGraph) => {
    const { graph, parameters } = build();
    return { session: await createSession(graph, options), parameters };
  };
  return {
    device: options.device,
    threads: options.threads,
    async pass(key, build) {
      let entry = compiled.get(key);
      if (!entry) compiled.set(key, (entry = compile(build)));
      const { session, parameters } = await entry;
      return {
        run(weights, feeds, fetches) {
          const all: Record<string, Tensor> = { ...feeds };
          for (const name of parameters) all[name] = weights[name]!;
          return session.run(all, fetches);
        },
      };
    },
    async dispose() {
      const sessions = await Promise.all(compiled.values());
      compiled.clear();
      for (const { session } of sessions) await session.dispose();
    },
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
