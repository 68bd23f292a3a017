import { createTensor } from '@parley/graph';
import type { Tensor } from '@parley/graph';
import { maskName } from './attention-graph.js';
import { extendMask } from './attention-mask.js';
import { roundUp } from './batch-plan.js';
import type { ModelConfig } from './config.js';
import { buildExtend, buildHead, buildLogits } from './inference-graphs.js';
import type { HeadMode } from './inference-graphs.js';
import type { ActivationRounding } from './int8-linear.js';
import type { KvCache } from './kv-cache.js';
import type { ModelWeights, ServedWeights } from './model-weights.js';
import { int64Tensor } from './pass-runner.js';
import type { PassRunner } from './pass-runner.js';
import type { SequenceFeeds } from './sequence-feeds.js';
import { storedMatrices } from './stored-matrices.js';

/** New tokens of some rows, and what was computed before them. */
export interface Extension {
  /** The new tokens of each row; shorter rows are padded. */
  readonly tokens: readonly (readonly number[])[];
  /** Position of each row's first new token. */
  readonly starts: readonly number[];
  /** Keys and values of earlier positions: of rows from `first` on, or of row `first` for all (`shared`). None: nothing is cached. */
  readonly past?: { readonly cache: KvCache; readonly first: number; readonly shared?: boolean };
  /** Which hidden states are wanted, as [row, index among its new tokens]. */
  readonly wanted: readonly (readonly [row: number, index: number])[];
}

/** What a pass over an {@link Extension} gave. */
export interface Extended {
  /** [wanted, hidden]. */
  readonly hidden: Float32Array;
  /** `new.N.key` and `new.N.value` [rows, kvHeads, padded tokens, headDim], for a cache. */
  readonly fresh: Readonly<Record<string, Tensor>>;
}

/** The forward pass of a model, whatever its weights are stored as. */
export interface Forward {
  extend(weights: ServedWeights, extension: Extension): Promise<Extended>;
  /**
   * What `mode` wants of the next tokens.
   * @param hidden [rows, hidden]
   * @param feedsOf what the mode is fed for `count` rows: those of `hidden`, the last one possibly twice
   */
  head(
    weights: ServedWeights,
    hidden: Float32Array,
    mode: HeadMode,
    feedsOf: (count: number) => Readonly<Record<string, Tensor>>,
  ): Promise<Record<string, Tensor>>;
}

/** Padded lengths of more than one token are multiples of this. */
const tokenStep = 16;

/** What a forward pass is made of. */
export interface ForwardParts {
  readonly config: ModelConfig;
  readonly runner: PassRunner;
  readonly sequences: SequenceFeeds;
  readonly weights: Pick<ModelWeights, 'adapters' | 'base'>;
  /** How activations are rounded where the base is in 8 bits. */
  readonly rounding: ActivationRounding;
}

/**
 * Results of a row depend on its own tokens alone, bit for bit on a CPU, whatever rows are beside it and however much of the cache
 * is unused: products take at least two rows (a single one takes another path through onnxruntime), padding is masked or behind,
 * and sums run over whole vectors.
 */
export function createForward({ config, runner, sequences, weights, rounding }: ForwardParts): Forward {
  const { adapters, base } = weights;
  const { layerCount, kvHeadCount, headDim, hiddenSize } = config;
  const windows = [...new Set(config.windows)];
  const isStored = base.quantized.size > 0;
  const storedPart = (part: 'layers' | 'head') =>
    isStored ? { matrices: storedMatrices(config, base, part), rounding } : undefined;
  const layers = storedPart('layers');
  const head = storedPart('head');
  /** The cache of nothing: one position that is masked, because shapes of no elements are refused. */
  const nothing: Record<string, Tensor> = {};
  for (let layer = 0; layer < layerCount; layer++) {
    for (const side of ['key', 'value']) {
      nothing[`past.${layer}.${side}`] = createTensor('float32', [1, kvHeadCount, 1, headDim]);
    }
  }
  /** Memory for logits that nobody reads any more; several calls may hold logits at the same time. */
  const spareLogits: Float32Array[] = [];
  let decodeFetches: { rows: number; tensors: Record<string, Tensor> } = { rows: 0, tensors: {} };

  /** Masks [starts, 1, 1, tokens, tokens + capacity], by window. */
  const masks = (starts: readonly number[], tokens: number, capacity: number): Record<string, Tensor> => {
    const shape = [starts.length, 1, 1, tokens, tokens + capacity];
    return Object.fromEntries(
      windows.map((window) => [
        maskName(window),
        createTensor('float32', shape, extendMask(starts, tokens, capacity, window)),
      ]),
    );
  };

  const fetchesOf = (rows: number, tokens: number, wanted: number): Record<string, Tensor | null> => {
    const hidden = createTensor('float32', [wanted, hiddenSize]);
    if (tokens > 1) {
      const fetches: Record<string, Tensor | null> = { hidden };
      for (const name of Object.keys(nothing)) fetches[name.replace('past', 'new')] = null;
      return fetches;
    }
    // Who asked for a step stores its keys and values as soon as it has run, before any other pass: the memory can be used again.
    if (decodeFetches.rows !== rows) {
      const names = Object.keys(nothing).map((name) => name.replace('past', 'new'));
      const shape = [rows, kvHeadCount, 1, headDim];
      decodeFetches = {
        rows,
        tensors: Object.fromEntries(names.map((name) => [name, createTensor('float32', shape)])),
      };
    }
    return { hidden, ...decodeFetches.tensors };
  };

  return {
    async extend(served, extension) {
      const { past, wanted } = extension;
      const longest = Math.max(...extension.tokens.map((row) => row.length));
      const tokens = longest === 1 ? 1 : roundUp(longest, tokenStep);
      // A single row of a decoding step is computed twice, and its copy thrown away.
      const rows = Math.max(extension.tokens.length, tokens === 1 && needsTwoRows() ? 2 : 1);
      const rowOf = (row: number): number => Math.min(row, extension.tokens.length - 1);
      const x = new Float32Array(rows * tokens * hiddenSize);
      const positions = new BigInt64Array(rows * tokens);
      for (let row = 0; row < rows; row++) {
        served.embedding.lookUp(extension.tokens[rowOf(row)], x, row * tokens);
        const start = extension.starts[rowOf(row)];
        for (let t = 0; t < tokens; t++)
          positions[row * tokens + t] = BigInt(Math.min(start + t, config.maxPositions - 1));
      }
      const starts = Array.from({ length: rows }, (_, row) => extension.starts[rowOf(row)]);
      const shared = past?.shared ?? extension.tokens.length < rows;
      const lastPosition = Math.max(...starts) + tokens;
      const indices = wanted.map(([row, index]) => row * tokens + index);
      const pass = await runner.pass('extend', () =>
        buildExtend(config, { adapters, ...(layers && { stored: layers }) }),
      );
      const feeds = {
        x: createTensor('float32', [rows * tokens, hiddenSize], x),
        positions: createTensor('int64', [rows, tokens], positions),
        rows: int64Tensor(indices, [indices.length]),
        ...sequences.rope(Math.min(lastPosition, config.maxPositions)),
        ...masks(past && !shared ? starts : starts.slice(0, 1), tokens, past?.cache.capacity ?? 1),
        ...(past ? past.cache.feeds(past.first, shared ? 1 : rows) : nothing),
      };
      const { hidden, ...fresh } = await pass.run(
        served.feeds,
        feeds,
        fetchesOf(rows, tokens, indices.length),
      );
      return { hidden: hidden.data as Float32Array, fresh };
    },

    async head(served, hidden, mode, feedsOf) {
      const given = hidden.length / hiddenSize;
      const rows = head ? given : Math.max(2, given);
      const states = rows === given ? hidden : Float32Array.of(...hidden, ...hidden);
      const input = createTensor('float32', [rows, hiddenSize], states);
      if (!head) {
        const pass = await runner.pass(`head.${mode}`, () => buildHead(config, mode, false));
        return pass.run(served.feeds, { hidden: input, ...feedsOf(rows) });
      }
      const product = await runner.pass('logits', () => buildLogits(config, { stored: head }));
      if (mode === 'logits') return product.run(served.feeds, { hidden: input });
      const size = rows * config.vocabSize;
      const spare = spareLogits.pop();
      const memory = spare && spare.length >= size ? spare : new Float32Array(size);
      const logits = createTensor('float32', [rows, config.vocabSize], memory.subarray(0, size));
      await product.run(served.feeds, { hidden: input }, { logits });
      const pass = await runner.pass(`head.${mode}`, () => buildHead(config, mode, true));
      const outputs = await pass.run({}, { logits, ...feedsOf(rows) });
      spareLogits.push(memory);
      return outputs;
    },
  };

  function needsTwoRows(): boolean {
    return !isStored || adapters.length > 0;
  }
}
