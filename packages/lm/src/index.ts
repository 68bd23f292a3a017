export { LmError } from './lm-error.js';
export type { LmErrorReason } from './lm-error.js';
export { firstNonFinite, narrowToBfloat16, narrowToFloat16, widenBfloat16, widenFloat16 } from './dtype.js';
export { decodeSafetensors, encodeSafetensors, readSafetensors, writeSafetensors } from './safetensors.js';
export type { SafetensorsDtype, SafetensorsReader, TensorEntry, TensorInput } from './safetensors.js';
export { architectures } from './config-architectures.js';
export type { ArchitectureSpec, BiasRule, LayerRole } from './config-architectures.js';
export { architectureOf, parseModelConfig, readModelConfig } from './config.js';
export type { Llama3RopeScaling, ModelConfig } from './config.js';
export { parameterCount, parameterNames, parameterShapes } from './config-parameters.js';
export type { LayerNames, LinearNames, ParameterNames } from './config-parameters.js';
export { loadCheckpoint, requireFinite, saveCheckpoint } from './checkpoint.js';
export type { Checkpoint, CheckpointToSave, LoadProgress } from './checkpoint.js';
export { createTokenizer, loadTokenizer } from './tokenizer.js';
export type { TokenSpan, Tokenizer, TokenizerOptions } from './tokenizer.js';
export { readTokenizerFiles } from './tokenizer-files.js';
export type { TokenizerFiles } from './tokenizer-files.js';
export { createTextStream } from './tokenizer-stream.js';
export type { TextStream } from './tokenizer-stream.js';
export { createPromptTemplate } from './prompt-template.js';
export type { PeerAnswer, PromptInput, PromptTemplate, PromptTemplateOptions } from './prompt-template.js';
export { loadPeftAdapter, savePeftAdapter } from './peft-adapter.js';
export type { LoraSettings, PeftAdapter, PeftAdapterToSave } from './peft-adapter.js';
export { describeTrainable, parseTrainable } from './describe-trainable.js';
export { committedStateFormat, readCommittedState } from './committed-state.js';
export type { CommittedState } from './committed-state.js';
export { quantizations } from './language-model.js';
export { initLanguageModel, loadLanguageModel } from './load-language-model.js';
export { LmError as LanguageModelError } from './lm-error.js';
export { maxTopLogProbs, samplingProblems } from './sampling-problems.js';
export type { TokenLogProb } from './sampling.js';
export type { OptimizerSettings } from './adamw.js';
export type {
  AnchorTarget,
  Completion,
  Device,
  EngineOptions,
  GenerateHooks,
  GenerateItem,
  GenerateOptions,
  InitOptions,
  LanguageModel,
  LanguageModelInfo,
  LoadOptions,
  ModelState,
  Quantization,
  Score,
  ScoreItem,
  Tensor,
  TrainSequence,
  TrainStep,
  Trainable,
} from './language-model.js';
