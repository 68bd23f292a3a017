import { planBatches } from './batch-plan.js';
import type { ModelConfig } from './config.js';
import type { Extended, Forward } from './forward.js';
import { createRow } from './generation-row.js';
import type { GenerationRow, GenerationSettings } from './generation-row.js';
import { capacityFor, createKvCache } from './kv-cache.js';
import type { KvCache } from './kv-cache.js';
import type { Completion, GenerateHooks, GenerateItem } from './language-model.js';
import { LmError } from './lm-error.js';
import type { ServedWeights } from './model-weights.js';
import { readSample, samplingFeeds, samplingMode } from './sampling-head.js';

/** What a scheduler runs with. */
export interface SchedulerContext {
  readonly config: ModelConfig;
  readonly forward: Forward;
  /** Most sequences that are continued at a time. */
  readonly maxBatch: number;
  /** Most tokens, padding included, of one pass over prompts. */
  readonly maxBatchTokens: number;
}

/**
 * Continuous batching (Orca, OSDI 2022): sequences of all calls share running batches, one for each version of the weights. They
 * enter when there is room and leave when they end, so that a long answer never holds up short ones; prompts are read piece by
 * piece between the steps of those that run.
 */
export interface GenerationScheduler {
  /** Whether anything waits or runs. */
  readonly busy: boolean;
  /** Takes a call in; its sequences keep the weights given here to their end. Resolves with the completions in their order. */
  submit(
    weights: ServedWeights,
    items: readonly GenerateItem[],
    settings: GenerationSettings,
    hooks: GenerateHooks,
  ): Promise<Completion[]>;
  /** One pass over prompts if any wait, then one token for every running sequence. Never rejects: calls get their errors. */
  step(): Promise<void>;
}

/**
 * Tokens of a prompt that are read in one pass; where a prompt is cut depends on nothing else. From here on longer passes give no more
 * tokens a second, and sequences under way wait for each (measured: `npm run bench:engine -- passes`).
 */
export const pieceTokens = 256;

/** One call. */
interface Job {
  readonly weights: ServedWeights;
  readonly hooks: GenerateHooks;
  readonly completions: Completion[];
  open: number;
  settle(error?: Error): void;
}

/** A sequence and the call it belongs to. */
interface Sequence {
  readonly row: GenerationRow;
  readonly job: Job;
  /** What of a long prompt was read so far; null until its first piece. */
  prefix: { readonly cache: KvCache; length: number } | null;
}

/** Running sequences that share weights and a cache; sequence i is row i of the cache. */
interface Batch {
  readonly weights: ServedWeights;
  readonly sequences: Sequence[];
  cache: KvCache;
}

/** A scheduler with nothing to do. */
export function createGenerationScheduler(context: SchedulerContext): GenerationScheduler {
  const { config, forward, maxBatch, maxBatchTokens } = context;
  const waiting: Sequence[] = [];
  const batches: Batch[] = [];
  let longFirst = true;
  const running = (): number => batches.reduce((count, { sequences }) => count + sequences.length, 0);

  const drop = (job: Job, error: Error): void => {
    for (let i = waiting.length - 1; i >= 0; i--) if (waiting[i].job === job) waiting.splice(i, 1);
    for (const batch of batches) {
      for (let i = batch.sequences.length - 1; i >= 0; i--)
        if (batch.sequences[i].job === job) remove(batch, i);
    }
    job.settle(error);
  };
  /** Takes a sequence out and moves the last one into its place. */
  const remove = (batch: Batch, index: number): void => {
    const last = batch.sequences.length - 1;
    if (index < last) {
      batch.cache.copyRow(index, batch.cache, last, cachedLength(batch.sequences[last].row));
      batch.sequences[index] = batch.sequences[last];
    }
    batch.sequences.pop();
    if (last === 0) batches.splice(batches.indexOf(batch), 1);
  };
  const finish = ({ row, job }: Sequence): void => {
    const completion = row.completion();
    job.completions[row.index] = completion;
    job.hooks.onCompletion?.(row.index, completion);
    job.open--;
    if (job.open === 0) job.settle();
  };
  /** Runs `pass` for some sequences; if it fails, their calls fail, and nobody else's. */
  const guarded = async (sequences: readonly Sequence[], pass: () => Promise<void>): Promise<void> => {
    try {
      await pass();
    } catch (error) {
      for (const job of new Set(sequences.map((sequence) => sequence.job))) drop(job, error as Error);
    }
  };

  /** Draws the next token of each sequence from its hidden state. */
  const draw = async (
    weights: ServedWeights,
    sequences: readonly Sequence[],
    hidden: Float32Array,
  ): Promise<void> => {
    const rows = sequences.map(({ row }) => row);
    const mode = samplingMode(
      config,
      rows.map(({ settings }) => settings),
    );
    const outputs = await forward.head(weights, hidden, mode, (count) =>
      samplingFeeds(
        mode,
        Array.from({ length: count }, (_, i) => rows[Math.min(i, rows.length - 1)]),
      ),
    );
    rows.forEach((row, i) => row.append(readSample(mode, outputs, i, row)));
  };

  /** Room for one more sequence, in the batch of its weights. */
  const enter = (sequence: Sequence, store: (cache: KvCache, row: number) => void): void => {
    const { weights } = sequence.job;
    let batch = batches.find((other) => other.weights === weights);
    const positions = sequence.row.prompt.length + 1;
    if (!batch) {
      batch = { weights, sequences: [], cache: createKvCache(config, 1, capacityFor(positions)) };
      batches.push(batch);
    }
    reserve(batch, batch.sequences.length + 1, positions);
    store(batch.cache, batch.sequences.length);
    batch.sequences.push(sequence);
  };
  /** Makes sure that a batch's cache has so many rows of so many positions. */
  const reserve = (batch: Batch, rows: number, positions: number): void => {
    const { cache } = batch;
    if (rows <= cache.rows && positions <= cache.capacity) return;
    const larger = createKvCache(
      config,
      rows <= cache.rows ? cache.rows : Math.min(maxBatch, Math.max(rows, 2 * cache.rows)),
      Math.max(cache.capacity, capacityFor(Math.min(positions, config.maxPositions))),
    );
    batch.sequences.forEach(({ row }, i) => larger.copyRow(i, cache, i, cachedLength(row)));
    batch.cache = larger;
  };

  /** Reads the prompts of short sequences with the same weights in one pass and lets them in. */
  const readShort = async (sequences: readonly Sequence[]): Promise<void> => {
    const { weights } = sequences[0].job;
    const prompts = sequences.map(({ row }) => row.prompt);
    const extended = await forward.extend(weights, {
      tokens: prompts,
      starts: prompts.map(() => 0),
      wanted: prompts.map((prompt, i) => [i, prompt.length - 1]),
    });
    await draw(weights, sequences, extended.hidden);
    sequences.forEach((sequence, i) => {
      if (sequence.row.finished) return finish(sequence);
      enter(sequence, (cache, row) => cache.write(row, 0, extended.fresh, i, prompts[i].length));
    });
  };
  /** Reads the next piece of a long prompt; after its last one the sequence runs. */
  const readPiece = async (sequence: Sequence): Promise<void> => {
    const { row, job } = sequence;
    const prefix = (sequence.prefix ??= {
      cache: createKvCache(config, 1, capacityFor(row.prompt.length)),
      length: 0,
    });
    const piece = row.prompt.slice(prefix.length, prefix.length + pieceTokens);
    const { hidden } = await extendPrefix(forward, job.weights, prefix, piece);
    if (prefix.length < row.prompt.length) return;
    waiting.splice(waiting.indexOf(sequence), 1);
    await draw(job.weights, [sequence], hidden);
    if (row.finished) return finish(sequence);
    enter(sequence, (cache, at) => cache.copyRow(at, prefix.cache, 0, prefix.length));
  };
  /** Short sequences that can be let in now, the earliest first, with the weights of the earliest. */
  const takeShort = (): Sequence[] => {
    const isShort = (sequence: Sequence): boolean => sequence.row.prompt.length <= pieceTokens;
    const first = waiting.find(isShort);
    if (!first) return [];
    const candidates = waiting
      .filter((sequence) => isShort(sequence) && sequence.job.weights === first.job.weights)
      .slice(0, maxBatch - running());
    const lengths = candidates.map(({ row }) => row.prompt.length);
    const maxTokens = running() > 0 ? Math.min(pieceTokens, maxBatchTokens) : maxBatchTokens;
    const plan = planBatches(lengths, { maxTokens, evenLengths: true });
    const taken = plan.find((part) => part.includes(0))!.map((index) => candidates[index]);
    for (const sequence of taken) waiting.splice(waiting.indexOf(sequence), 1);
    return taken;
  };
  const readPrompts = async (): Promise<void> => {
    if (waiting.length === 0 || running() >= maxBatch) return;
    const long = waiting.find(({ row }) => row.prompt.length > pieceTokens);
    const hasShort = waiting.some(({ row }) => row.prompt.length <= pieceTokens);
    // Both kinds get on: they take turns.
    longFirst = !longFirst;
    if (long && (longFirst || !hasShort)) return guarded([long], () => readPiece(long));
    const short = takeShort();
    if (short.length > 0) await guarded(short, () => readShort(short));
  };

  const decode = async (batch: Batch): Promise<void> => {
    const { weights, sequences } = batch;
    reserve(batch, sequences.length, Math.max(...sequences.map(({ row }) => row.position)) + 1);
    const { cache } = batch;
    const { hidden, fresh }: Extended = await forward.extend(weights, {
      tokens: sequences.map(({ row }) => [row.lastToken]),
      starts: sequences.map(({ row }) => row.position),
      past: { cache, first: 0 },
      wanted: sequences.map((_, i) => [i, 0]),
    });
    sequences.forEach(({ row }, i) => cache.write(i, row.position, fresh, i, 1));
    await draw(weights, sequences, hidden);
    for (let i = sequences.length - 1; i >= 0; i--) {
      const sequence = sequences[i];
      if (!sequence.row.finished) continue;
      remove(batch, i);
      finish(sequence);
    }
  };

  return {
    get busy() {
      return waiting.length > 0 || batches.length > 0;
    },
    submit(weights, items, settings, hooks) {
      return new Promise((resolve, reject) => {
        const completions = new Array<Completion>(items.length);
        const job: Job = {
          weights,
          hooks,
          completions,
          open: items.length,
          settle: (error) => (error === undefined ? resolve(completions) : reject(error)),
        };
        if (items.length === 0) return job.settle();
        items.forEach((item, index) =>
          waiting.push({ row: createRow(index, item, settings), job, prefix: null }),
        );
      });
    },
    async step() {
      const jobs = new Set(
        [...waiting, ...batches.flatMap(({ sequences }) => sequences)].map(({ job }) => job),
      );
      for (const job of jobs) if (job.hooks.signal?.aborted) drop(job, abortedError());
      await readPrompts();
      for (const batch of [...batches]) {
        if (batch.sequences.length > 0) await guarded(batch.sequences, () => decode(batch));
      }
    },
  };
}

/** Positions of a running sequence that its cache holds: all but that of the token drawn last. */
function cachedLength(row: GenerationRow): number {
  return row.position;
}

/** Reads further tokens of one sequence and stores them behind what is cached of it. */
export async function extendPrefix(
  forward: Forward,
  weights: ServedWeights,
  prefix: { readonly cache: KvCache; length: number },
  tokens: readonly number[],
): Promise<Extended> {
  const extended = await forward.extend(weights, {
    tokens: [tokens],
    starts: [prefix.length],
    ...(prefix.length > 0 ? { past: { cache: prefix.cache, first: 0 } } : {}),
    wanted: [[0, tokens.length - 1]],
  });
  prefix.cache.write(0, prefix.length, extended.fresh, 0, tokens.length);
  prefix.length += tokens.length;
  return extended;
}

function abortedError(): LmError {
  return new LmError('ABORTED', 'The generation was aborted by its caller.');
}
