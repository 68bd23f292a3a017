import { totalmem } from 'node:os';
import { constrainedMemory } from 'node:process';
import { parameterCount, parameterShapes } from './config-parameters.js';
import type { ModelConfig } from './config.js';
import { LmError } from './lm-error.js';
import { lossChunkRows } from './training-graph.js';
import type { Kept } from './training-graph.js';

/** What the memory of a training pass depends on. */
export interface TrainingMemory {
  readonly config: ModelConfig;
  /** Adapter weights that train; 0 when all parameters do. */
  readonly adapterParameters: number;
  /** Whether the base is held in 8 bits. */
  readonly quantized: boolean;
  /** What generation and scoring hold beside the weights. */
  readonly inferenceBytes: number;
  /** What the process may take in all. */
  readonly memoryBytes: number;
}

/** How passes are run so that they fit. */
export interface TrainingPlan {
  readonly keep: Kept;
  /** Most tokens of a pass, padding included; a longer sequence is a pass alone. */
  readonly passTokens: number;
  /** Whether the memory that a compiled pass holds between runs leaves no room for its variants beside it. */
  readonly alone: boolean;
}

/** Bytes that a training pass needs, by what for. */
export type MemoryNeeds = Readonly<
  Record<'weights' | 'inference' | 'training' | 'activations' | 'logits' | 'runtime', number>
>;

/** What is kept for the backward pass stays under this where the choice is free. */
const activationBytes = 2 ** 30;
/** Below this share of it everything is kept. */
const ampleShare = 0.5;
/** Graphs that training compiles for one plan: with and without a KL term, for one chunk of losses and for more. */
const variants = 4;
/** Tokens under which passes are not made smaller: the products would be slow, and little is left to save. */
const minPassTokens = 256;
/** Node, onnxruntime, compiled graphs, and the gaps between blocks of memory (measured: 0.15 to 0.2 GB). */
const runtimeBytes = 2e8;

/** What products with 8-bit matrices take beside: float32 copies in turn, of many sizes (measured: 0.4 to 0.8 GB). */
const dequantizedBytes = 8e8;

/** What this process may take, in bytes: its control group's limit, or else the machine's memory. */
export function memoryLimit(): number {
  const constrained = constrainedMemory();
  // Without a limit the kernel tells one that no machine has.
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

/**
 * Chooses how to train: passes of the preferred size that keep what the memory is ample for; else smaller passes; else, unless
 * forbidden, passes that compute layers again.
 * @param wanted.maxTokens most tokens of a pass
 * @param wanted.sequenceTokens the longest sequence to train on, which cannot be split; null if that is not known yet
 * @throws LmError `MEMORY_EXCEEDED` with the arithmetic, when even that does not fit.
 */
export function planTraining(
  memory: TrainingMemory,
  wanted: {
    readonly maxTokens: number;
    readonly recompute: boolean | 'auto';
    readonly sequenceTokens: number | null;
  },
): TrainingPlan {
  const { config, memoryBytes } = memory;
  const { recompute, sequenceTokens } = wanted;
  const least = Math.min(wanted.maxTokens, config.maxPositions, sequenceTokens ?? minPassTokens);
  const sizes: number[] = [];
  for (let tokens = Math.max(wanted.maxTokens, least); tokens > least; tokens = Math.floor(tokens / 2)) {
    if (tokens >= minPassTokens) sizes.push(tokens);
  }
  sizes.push(Math.max(least, sequenceTokens ?? 0));
  const ample = keptBytes(config, 'all', sizes[0]) <= ampleShare * activationBytes;
  const kinds: Kept[] =
    recompute === true
      ? ['input']
      : [...(ample ? (['all'] as const) : []), 'products', ...(recompute ? (['input'] as const) : [])];
  for (const keep of kinds) {
    for (const passTokens of sizes) {
      const needs = memoryNeeds(memory, keep, passTokens);
      if (total(needs) > memoryBytes) continue;
      const held = needs.activations + needs.logits;
      return { keep, passTokens, alone: total(needs) + (variants - 1) * held > memoryBytes };
    }
  }
  throw exceeded(memory, memoryNeeds(memory, kinds.at(-1)!, sizes.at(-1)!), kinds.at(-1)!, sizes.at(-1)!);
}

/** Tokens of a pass that keep their layers' products within what is taken for activations where the choice is free. */
export function defaultPassTokens(config: ModelConfig): number {
  const perToken = keptBytes(config, 'products', 1);
  return Math.min(8192, Math.max(minPassTokens, Math.floor(activationBytes / perToken)));
}

/**
 * Bytes that generation and scoring hold beside the weights: of an 8-bit base the arrangement that onnxruntime makes for its products,
 * and of a pass over `maxBatchTokens` tokens the values of a layer, twice for what its arena rounds up.
 */
export function inferenceBytes(
  config: ModelConfig,
  {
    quantized,
    maxBatch,
    maxBatchTokens,
  }: { readonly quantized: boolean; readonly maxBatch: number; readonly maxBatchTokens: number },
): number {
  return (
    (quantized ? matrixParameters(config) : 0) +
    4 * maxBatch * config.vocabSize +
    8 * maxBatchTokens * layerFloats(config, maxBatchTokens)
  );
}

/** Bytes of a training pass of `tokens` tokens in one sequence (attention's own part is largest then). */
export function memoryNeeds(
  { config, adapterParameters, quantized, inferenceBytes }: TrainingMemory,
  keep: Kept,
  tokens: number,
): MemoryNeeds {
  const matrices = matrixParameters(config);
  const rest = parameterCount(config) - matrices;
  const trained = adapterParameters === 0 ? parameterCount(config) : adapterParameters;
  // Beside the weights themselves: gradients, two moments, and onnxruntime's copy of what is fetched.
  const copies = adapterParameters === 0 ? 4 : 5;
  const rows = Math.min(tokens, lossChunkRows(config, keep));
  return {
    weights: matrices * (quantized ? 1 : 4) + 4 * rest,
    inference: inferenceBytes,
    training: 4 * copies * trained,
    activations: keptBytes(config, keep, tokens) + workingBytes(config, tokens),
    // Logits and probabilities; and, of 8-bit matrices, what is made float32 of them for a product.
    logits:
      8 * rows * config.vocabSize + (quantized ? Math.min(dequantizedBytes, 8 * largestMatrix(config)) : 0),
    runtime: runtimeBytes,
  };
}

/** What all layers keep from their forward to their backward pass. */
function keptBytes(config: ModelConfig, keep: Kept, tokens: number): number {
  const { hiddenSize, layerCount, postNorms, intermediateSize } = config;
  const { query, keyValue } = widths(config);
  const perToken: Record<Kept, number> = {
    all: layerFloats(config, tokens),
    products: (postNorms ? 4 : 2) * hiddenSize + query + 2 * keyValue + 2 * intermediateSize,
    input: hiddenSize,
  };
  return 4 * tokens * layerCount * perToken[keep];
}

/** What one layer takes while its gradient is computed: its values, and their gradients. */
function workingBytes(config: ModelConfig, tokens: number): number {
  const gradients =
    5 * config.intermediateSize +
    4 * config.hiddenSize +
    2 * config.headCount * Math.min(tokens, config.maxPositions);
  return 4 * tokens * (layerFloats(config, tokens) + gradients);
}

/** Values of a layer that its gradient reads, a token: hidden states, heads, probabilities, the gated unit. */
function layerFloats(config: ModelConfig, tokens: number): number {
  const { query, keyValue } = widths(config);
  const unit = config.activation === 'silu' ? 4 : 6;
  return (
    (config.postNorms ? 6 : 4) * config.hiddenSize +
    3 * query +
    2 * keyValue +
    config.headCount * Math.min(tokens, config.maxPositions) +
    unit * config.intermediateSize
  );
}

function widths({ headCount, kvHeadCount, headDim }: ModelConfig): { query: number; keyValue: number } {
  return { query: headCount * headDim, keyValue: kvHeadCount * headDim };
}

/** Parameters of the matrices, which alone are quantised. */
function matrixParameters(config: ModelConfig): number {
  let sum = 0;
  for (const shape of parameterShapes(config).values())
    if (shape.length > 1) sum += shape.reduce((a, b) => a * b, 1);
  return sum;
}

function largestMatrix({ vocabSize, intermediateSize, hiddenSize }: ModelConfig): number {
  return Math.max(vocabSize, intermediateSize) * hiddenSize;
}

function total(needs: MemoryNeeds): number {
  return Object.values(needs).reduce((a, b) => a + b, 0);
}

function exceeded(
  { config, adapterParameters, memoryBytes, quantized }: TrainingMemory,
  needs: MemoryNeeds,
  keep: Kept,
  tokens: number,
): LmError {
  const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(bytes < 1e8 ? 3 : 2)} GB`;
  const trained = adapterParameters === 0 ? 'gradients and moments' : 'adapters, their gradients and moments';
  const remedies = [
    ...(adapterParameters === 0 ? ['train adapters (trainable: lora)'] : ['a lower rank']),
    ...(!quantized && adapterParameters > 0 ? ['an 8-bit base'] : []),
    ...(keep === 'input' ? [] : ['recompute: auto']),
    'shorter sequences',
    'a higher memoryBytes, if the process may have more',
  ];
  return new LmError(
    'MEMORY_EXCEEDED',
    `Training needs ${gigabytes(total(needs))} and may take ${gigabytes(memoryBytes)}: weights ${gigabytes(needs.weights)} + generation and scoring ${gigabytes(needs.inference)} + ${trained} ` +
      `${gigabytes(needs.training)} + activations of ${tokens} tokens ${gigabytes(needs.activations)} + logits of ` +
      `${Math.min(tokens, lossChunkRows(config, keep))} tokens ${gigabytes(needs.logits)} + runtime ${gigabytes(needs.runtime)}. ` +
      `What helps: ${remedies.join(', ')}.`,
    { details: { neededBytes: Math.ceil(total(needs)), memoryBytes } },
  );
}
