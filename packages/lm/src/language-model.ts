import type { ModelConfig } from './config.js';
import type { OptimizerSettings } from './adamw.js';
import type { TokenLogProb } from './sampling.js';

/** A tensor of float32 values, row-major. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Where the engine computes; `auto` prefers CUDA, then WebGPU, then the CPU, and reports what it took. */
export type Device = 'cpu' | 'webgpu' | 'cuda' | 'auto';

/** Which weights train: all, or low-rank updates beside frozen ones (Hu et al., arXiv 2106.09685). */
export type Trainable =
  | { readonly kind: 'full' }
  | {
      readonly kind: 'lora';
      readonly rank: number;
      /** The update is scaled by alpha / rank. */
      readonly alpha: number;
      /** Names of linear layers, such as `q_proj`; all of attention and the MLP when left out. */
      readonly targets?: readonly string[];
      /** Decides the initial A matrices; B starts at zero. */
      readonly seed: number;
    };

/**
 * How the weights a model was loaded with are held: as they are (`none`), or its matrices rounded to 8 bits, one scale an output, with
 * LoRA beside them (as QLoRA does, arXiv 2305.14314). With `int8` generation and scoring keep 13 bits of an activation, so that the
 * weights' rounding is what counts; with `w8a8` they keep 8 (as vLLM's W8A8 with scales a token does), which is up to twice as fast for
 * many sequences, and loses more where a model has activations far above the rest.
 */
export type Quantization = (typeof quantizations)[number];
export const quantizations = ['none', 'int8', 'w8a8'] as const;

/** How a model is run, however it was obtained. */
export interface EngineOptions {
  /** Default `cpu`. A device that is not there is an error, never a silent fall-back. */
  readonly device?: Device;
  /** Threads of one operator; default 1. */
  readonly threads?: number;
  /** Whether idle threads spin: faster when the machine is otherwise idle, harmful when it is shared. Default false. */
  readonly spinning?: boolean;
  /** Default `{ kind: 'full' }`. */
  readonly trainable?: Trainable;
  /** Default `none`. 8 bits need the device `cpu` and LoRA. */
  readonly quantization?: Quantization;
  /** Sequences generated or scored together; default 32. */
  readonly maxBatch?: number;
  /**
   * Tokens, padding included, of one forward and backward pass; larger batches accumulate gradients. Default: by the model's size.
   * Generation and scoring with an 8-bit base take 256 at most, which is faster.
   */
  readonly maxBatchTokens?: number;
  /**
   * Whether training computes layers again in the backward pass instead of keeping what it needs of them: about a quarter slower,
   * and little memory. Default `auto`: where memory asks for it.
   */
  readonly recompute?: boolean | 'auto';
  /**
   * What the process may take, in bytes: training that needs more is refused (`MEMORY_EXCEEDED`), at once where `trainable` was given,
   * else at the first step. Default: the limit of the process' control group, or else the machine's memory.
   */
  readonly memoryBytes?: number;
}

/** Options of {@link loadLanguageModel}. */
export interface LoadOptions extends EngineOptions {
  /** A Hugging Face model folder. */
  readonly folder: string;
  /** Called with the fraction of the weights read so far, in [0, 1]. */
  readonly onProgress?: (fraction: number) => void;
}

/** Options of {@link initLanguageModel}. */
export interface InitOptions extends EngineOptions {
  readonly config: ModelConfig;
  /** Decides every weight that `weights` does not give. */
  readonly seed: number;
  /** Initial values by Hugging Face name. */
  readonly weights?: ReadonlyMap<string, Tensor>;
}

/** One sequence to continue. */
export interface GenerateItem {
  /** Token ids, at least one. */
  readonly prompt: readonly number[];
  /** Decides this sequence's samples alone, whatever it is batched with. */
  readonly seed: number;
}

/**
 * How sequences are continued. Penalty, temperature and filters apply in the order of `SamplingSettings`; each row's
 * choices depend on these options, its seed and its own logits alone.
 */
export interface GenerateOptions {
  readonly maxTokens: number;
  /** 0 is greedy, ties go to the lowest token id, and topK, topP and minP are then refused; else at least 1e-6. */
  readonly temperature: number;
  /** Draw from this many likeliest tokens; default 0: all. */
  readonly topK?: number;
  /** Nucleus mass in (0, 1]; default 1: all. */
  readonly topP?: number;
  /** Draw from tokens at least this many times as likely as the likeliest, in [0, 1]; default 0: all. */
  readonly minP?: number;
  /** Makes tokens of prompt and continuation less likely, in [0.01, 100]; default 1: none; below 1: likelier. */
  readonly repetitionPenalty?: number;
  /** Report this many of the likeliest tokens at each position, at most 20; default 0. */
  readonly topLogProbs?: number;
  /** Sampling one of these ends the sequence; it is part of `tokens` and `logProbs`. Default: the model's own. */
  readonly stopTokens?: readonly number[];
  /**
   * Text that ends the sequence once the decoded continuation contains it, wherever tokens begin and end; needs a model
   * loaded from a folder. Its tokens are part of `tokens` and `logProbs`; to cut it off the text, see `createTextStream`.
   */
  readonly stopStrings?: readonly string[];
}

/** A generated continuation. */
export interface Completion {
  readonly tokens: number[];
  /** Of each chosen token at temperature 1 before penalty and filters, nats; includes the stop token if one was sampled. */
  readonly logProbs: Float32Array;
  /**
   * The likeliest tokens at each position, by falling log-probability; of one kind with `logProbs`, and whatever was
   * chosen. Only if asked for.
   */
  readonly topLogProbs?: readonly (readonly TokenLogProb[])[];
  readonly finish: 'stop' | 'length';
  /** Mean entropy of the model's distributions at temperature 1, before penalty and filters, nats per token. */
  readonly meanEntropy: number;
}

/** Callbacks and cancellation of a generation. */
export interface GenerateHooks {
  /** Called as each sequence finishes, with its index among the items. */
  onCompletion?(index: number, completion: Completion): void;
  readonly signal?: AbortSignal;
}

/** A span to score given its context. */
export interface ScoreItem {
  /** Context, at least one token. */
  readonly prompt: readonly number[];
  readonly target: readonly number[];
}

/** Log-likelihood of a span, nats. */
export interface Score {
  readonly logProb: number;
  readonly tokens: number;
  readonly tokenLogProbs: Float32Array;
}

/** One weighted training sequence. */
export interface TrainSequence {
  readonly prompt: readonly number[];
  readonly target: readonly number[];
  /** Factor of this sequence's mean token cross-entropy. */
  readonly weight: number;
  /** Factor of this sequence's mean token KL(anchor ‖ model), see {@link LanguageModel.anchorTo}; default 0. */
  readonly anchorWeight?: number;
  /** Relative weights of the target's tokens in the cross-entropy's mean (Σ τ·CE / Σ τ); default uniform. */
  readonly tokenWeights?: Float32Array;
}

/** What the KL anchor of training pulls towards. */
export type AnchorTarget = 'loaded' | 'current';

/** What one optimiser step did. */
export interface TrainStep {
  /** (1/N) Σ wᵢ · mean cross-entropy before the step, nats. */
  readonly loss: number;
  /** (1/N) Σ aᵢ · mean KL(anchor ‖ model) before the step, nats. */
  readonly anchorLoss: number;
  /** Global norm before clipping. */
  readonly gradNorm: number;
  /** Target tokens trained on. */
  readonly tokens: number;
}

/** Facts about a running model. */
export interface LanguageModelInfo {
  readonly architecture: string;
  readonly parameters: number;
  readonly trainableParameters: number;
  readonly vocabularySize: number;
  readonly contextTokens: number;
  /** The device that computes, after `auto` is resolved. */
  readonly device: string;
  readonly threads: number;
  /** Whether sequences under way end with the weights they began with while others are trained or imported (LoRA). */
  readonly keepsVersions: boolean;
  /** Optimiser steps taken so far, over all imports. */
  readonly step: number;
}

/** Trainable weights and optimiser state, each a safetensors file. */
export interface ModelState {
  readonly weights: Uint8Array;
  readonly optimizer: Uint8Array;
}

/**
 * A model in its own worker thread. Calls begin in the order made, each when the one before it has ended; only generations let the
 * next call begin at once and share a running batch. What a sequence or a span gets does not depend on what is computed beside it
 * (but for the last digits of a mean entropy):
 * the same calls give the same results bit by bit on the same machine and thread count.
 *
 * Every method rejects with {@link LmError}: `MODEL_CLOSED` after close, `WORKER_FAILED` when the thread died,
 * `ARGUMENT_INVALID` for malformed arguments, `PROMPT_TOO_LONG` (details: `index`, `promptTokens`, `maxTokens`,
 * `contextTokens`) when a sequence does not fit the context; no state changes on a refused call.
 */
export interface LanguageModel extends AsyncDisposable {
  readonly info: LanguageModelInfo;
  /** Continues every item; the results are in the order of the items. Rejects with `ABORTED` when the signal fires. */
  generate(
    items: readonly GenerateItem[],
    options: GenerateOptions,
    hooks?: GenerateHooks,
  ): Promise<Completion[]>;
  /** Scores spans with the current weights or, with `reference`, with those the model was loaded with. */
  score(items: readonly ScoreItem[], options?: { readonly reference?: boolean }): Promise<Score[]>;
  /**
   * One optimiser step on L = (1/N) Σᵢ [ wᵢ · mean CE + aᵢ · mean KL(anchor ‖ model) ] over the N sequences given.
   * Rejects with `WEIGHT_NOT_FINITE` naming the index, or `GRADIENT_NOT_FINITE`; the weights then stay as they were.
   */
  trainStep(batch: readonly TrainSequence[], settings: OptimizerSettings): Promise<TrainStep>;
  /**
   * Compares the log-probabilities of a few tokens as generation and as training compute them with the current weights.
   * @returns the largest difference, nats a token
   * Rejects with `PARITY_BROKEN` if it is more than rounding explains (0.002; 0.05 with `int8`, 0.5 with `w8a8`).
   */
  checkParity(): Promise<number>;
  /**
   * Chooses what the KL anchor pulls towards: the weights the model was `loaded` with (the default), or a copy of its
   * `current` ones. Not part of the exported state.
   */
  anchorTo(target: AnchorTarget): Promise<void>;
  /** Trainable weights, AdamW moments and step count. Equal states give equal bytes. */
  exportState(): Promise<ModelState>;
  /** Restores what {@link exportState} gave, exactly. Without `optimizer` the moments and the step count restart. */
  importState(state: { readonly weights: Uint8Array; readonly optimizer?: Uint8Array }): Promise<void>;
  /** The full checkpoint by Hugging Face name, adapters merged. */
  exportMerged(): Promise<Map<string, Tensor>>;
  /** Stops the worker after the calls in flight. Idempotent. */
  close(): Promise<void>;
}
