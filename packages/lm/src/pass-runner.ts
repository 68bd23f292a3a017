import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GraphError, createSession, createTensor, toModelBytes } from '@parley/graph';
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

/**
 * Sessions compiled on first use; the least recently used is released when there are too many, save those that hold matrices of
 * their own.
 */
export interface PassRunner {
  readonly device: Device;
  readonly threads: number;
  /**
   * The pass compiled under `key`.
   * @param alone set for passes that hold much memory between runs: of those with the same word only the latest is kept
   */
  pass(key: string, build: () => PassGraph, alone?: string): Promise<Pass>;
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
  interface Compiled {
    readonly session: Session;
    readonly parameters: readonly string[];
    readonly external: boolean;
    readonly alone: string | undefined;
  }
  const compiled = new Map<string, Compiled>();
  /** Calls that overlap ask for the same pass; it is compiled once. */
  const underWay = new Map<string, Promise<Compiled>>();
  const release = async (key: string): Promise<void> => {
    const entry = compiled.get(key);
    compiled.delete(key);
    await entry?.session.dispose();
  };
  const compile = async (
    key: string,
    build: () => PassGraph,
    alone: string | undefined,
  ): Promise<Compiled> => {
    const rivals = [...compiled].filter(([, entry]) => alone !== undefined && entry.alone === alone);
    for (const [rival] of rivals) await release(rival);
    const pass = build();
    const session = pass.external
      ? await loadFromFiles(pass, options)
      : await createSession(pass.graph, options);
    const entry = { session, parameters: pass.parameters, external: pass.external !== undefined, alone };
    const released = [...compiled].filter(([, { external }]) => !external);
    if (released.length >= maxSessions) await release(released[0][0]);
    compiled.set(key, entry);
    return entry;
  };
  return {
    device: options.device,
    threads: options.threads,
    async pass(key, build, alone) {
      let entry = compiled.get(key);
      if (!entry) {
        const compiling = underWay.get(key) ?? compile(key, build, alone).finally(() => underWay.delete(key));
        underWay.set(key, compiling);
        entry = await compiling;
      }
      // A Map keeps the order of insertion, so that its first entry is the least recently used.
      compiled.delete(key);
      compiled.set(key, entry);
      const { session, parameters } = entry;
      return {
        run(weights, feeds, fetches) {
          const all: Record<string, Tensor> = { ...feeds };
          for (const name of parameters) all[name] = weights[name];
          return session.run(all, fetches).catch(strayed(key, options.device));
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

/**
 * Compiles a graph from files, which onnxruntime maps into memory and lets go of once it has arranged the matrices for its own
 * products: at no time is there more than that one arrangement. The files are gone afterwards.
 */
async function loadFromFiles({ graph, external }: PassGraph, options: RunnerOptions): Promise<Session> {
  const folder = mkdtempSync(join(tmpdir(), 'parley-matrices-'));
  try {
    const path = join(folder, 'graph.onnx');
    writeFileSync(path, toModelBytes(graph));
    const fd = openSync(join(folder, external!.location), 'w');
    try {
      for (const part of external!.parts()) writeFully(fd, part);
    } finally {
      closeSync(fd);
    }
    return await createSession(path, options);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === undefined) throw cause;
    const { bytes } = external!;
    throw new LmError(
      'FILE_NOT_WRITTEN',
      `${folder} could not take the ${bytes} bytes of the 8-bit weights: ${(cause as Error).message}. They are written there once, at ` +
        'start: make room, or point TMPDIR to a folder on disk that has it.',
      { details: { folder, bytes }, cause },
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function writeFully(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.byteLength;)
    done += writeSync(fd, bytes, done, Math.min(1 << 28, bytes.byteLength - done));
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
