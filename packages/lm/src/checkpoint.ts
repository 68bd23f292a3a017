import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { openWeights } from './checkpoint-files.js';
import { readModelConfig } from './config.js';
import type { ModelConfig } from './config.js';
import { parameterShapes } from './config-parameters.js';
import { firstNonFinite } from './dtype.js';
import { LmError } from './lm-error.js';
import { preview } from './preview.js';
import { writeFileAtomically } from './safetensors-file.js';
import { writeSafetensors } from './safetensors.js';
import type { SafetensorsReader, TensorInput } from './safetensors.js';

/** How far a load has come, reported after each tensor. Bytes are those of the files, before widening to float32. */
export interface LoadProgress {
  readonly tensor: string;
  readonly loadedBytes: number;
  readonly totalBytes: number;
}

/** A model in memory: its configuration and one float32 array a parameter, in the order of `parameterShapes`. */
export interface Checkpoint {
  readonly config: ModelConfig;
  readonly tensors: Map<string, Float32Array<ArrayBuffer>>;
  /** Tensors of the files that carry nothing the model needs (stored rotary frequencies, a tied output matrix). */
  readonly ignored: readonly string[];
}

/** What {@link saveCheckpoint} writes. */
export interface CheckpointToSave {
  /** Written as config.json from its `source`, with `dtype` brought up to date. */
  readonly config: ModelConfig;
  /** Every parameter of the configuration, by Hugging Face name. */
  readonly tensors: ReadonlyMap<string, Float32Array>;
  /** How weights are stored; `F32` keeps them exactly. */
  readonly dtype?: 'F32' | 'F16' | 'BF16';
  /** Further files of the folder by name (tokenizer.json, tokenizer_config.json, generation_config.json, …): text as it is, objects as JSON. */
  readonly files?: Readonly<Record<string, string | Readonly<Record<string, unknown>>>>;
}

/**
 * Loads a Hugging Face model folder: config.json with model.safetensors or the shards of model.safetensors.index.json.
 * @throws LmError what {@link readModelConfig} and {@link readCheckpoint} throw.
 */
export function loadCheckpoint(
  folder: string,
  options: { readonly onProgress?: (progress: LoadProgress) => void } = {},
): Checkpoint {
  const config = readModelConfig(folder);
  const tensors = new Map<string, Float32Array<ArrayBuffer>>();
  const ignored = readCheckpoint(folder, config, (name, values) => tensors.set(name, values), options);
  return { config, tensors, ignored };
}

/**
 * Reads the weights of a model folder, one tensor after another in the order of `parameterShapes`: the peak is what `take` keeps and
 * one tensor in float32. Every parameter is checked for presence and shape before the first byte of any is read.
 * @returns tensors of the files that carry nothing the model needs
 * @throws LmError what `readSafetensors` throws, and `SHARD_MISSING`, `TENSOR_MISSING`, `TENSOR_UNEXPECTED` (a weight this
 * architecture has no place for, which would otherwise be dropped without a word), `TENSOR_SHAPE_MISMATCH`,
 * `TENSOR_DTYPE_UNSUPPORTED`, `TENSOR_NOT_FINITE`.
 */
export function readCheckpoint(
  folder: string,
  config: ModelConfig,
  take: (name: string, values: Float32Array<ArrayBuffer>) => void,
  options: { readonly onProgress?: (progress: LoadProgress) => void } = {},
): string[] {
  const shapes = parameterShapes(config);
  using weights = openWeights(folder);
  const located = [...shapes].map(([name, shape]) => locate(folder, config, weights.readers, name, shape));
  const ignored = findIgnored(folder, config, weights.readers, shapes);
  const totalBytes = located.reduce((sum, { byteLength }) => sum + byteLength, 0);
  let loadedBytes = 0;
  for (const { name, shape, reader, byteLength } of located) {
    const values = reader.readFloats(name, shape);
    requireFinite(values, name, reader.label);
    take(name, values);
    loadedBytes += byteLength;
    options.onProgress?.({ tensor: name, loadedBytes, totalBytes });
  }
  return ignored;
}

/**
 * Writes an ordinary Hugging Face model folder, creating it if need be: model.safetensors, the further files, and
 * config.json last. Each file replaces its predecessor whole or not at all.
 * @throws LmError `TENSOR_MISSING`, `TENSOR_UNEXPECTED`, `TENSOR_SHAPE_MISMATCH`, `TENSOR_NOT_FINITE` before anything is
 * written; `FILE_NOT_WRITTEN`.
 */
export function saveCheckpoint(folder: string, model: CheckpointToSave): void {
  const { config, dtype = 'F32' } = model;
  const tensors = collectTensors(model, dtype);
  mkdirSync(folder, { recursive: true });
  writeSafetensors(join(folder, 'model.safetensors'), tensors, { format: 'pt' });
  for (const [name, content] of Object.entries(model.files ?? {})) writeText(join(folder, name), content);
  const torchDtype = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' }[dtype];
  const { torch_dtype: _, ...source } = config.source;
  writeText(join(folder, 'config.json'), { ...source, dtype: torchDtype });
}

/** @throws LmError `TENSOR_NOT_FINITE` naming the tensor, its source and the place of the first NaN or infinity. */
export function requireFinite(values: Float32Array, name: string, source: string): void {
  const index = firstNonFinite(values);
  if (index < 0) return;
  throw new LmError(
    'TENSOR_NOT_FINITE',
    `${source}: tensor "${name}" holds ${values[index]} at index ${index}. Training diverged or the file is damaged: ` +
      'go back to an earlier version.',
    { details: { file: source, tensor: name, index } },
  );
}

function locate(
  folder: string,
  config: ModelConfig,
  readers: readonly SafetensorsReader[],
  name: string,
  shape: readonly number[],
) {
  const reader = readers.find(({ entries }) => entries.has(name));
  const entry = reader?.entries.get(name);
  if (reader === undefined || entry === undefined) {
    const remedy = name.startsWith('lm_head')
      ? 'If the output matrix is the embedding, set "tie_word_embeddings": true in config.json; otherwise download the folder again.'
      : 'The weights and config.json are of different models, or this is an adapter without its base: take the whole folder from one place.';
    throw new LmError(
      'TENSOR_MISSING',
      `${folder} has no tensor "${name}" [${shape.join(', ')}]. ${remedy}`,
      {
        details: { folder, tensor: name, expected: shape.join(',') },
      },
    );
  }
  // Refuses a wrong shape or type before any data is read.
  checkShape(config, reader.label, name, entry.shape, shape);
  reader.checkFloats(name, shape);
  return { name, shape, reader, byteLength: entry.byteLength };
}

/** What `SafetensorsReader.checkFloats` refuses, with the fields of config.json that the shape follows from. */
function checkShape(
  config: ModelConfig,
  file: string,
  name: string,
  got: readonly number[],
  expected: readonly number[],
): void {
  if (got.length === expected.length && got.every((size, i) => size === expected[i])) return;
  const sizes: Readonly<Record<string, number>> = {
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    'num_attention_heads × head_dim': config.headCount * config.headDim,
    'num_key_value_heads × head_dim': config.kvHeadCount * config.headDim,
    head_dim: config.headDim,
  };
  const differing = expected.filter((size, i) => size !== got[i] || got.length !== expected.length);
  const fields = Object.keys(sizes).filter((key) => differing.includes(sizes[key]));
  throw new LmError(
    'TENSOR_SHAPE_MISMATCH',
    `${file}: tensor "${name}" has shape ${shownShape(got)}; expected ${shownShape(expected)} by config.json ` +
      `(${fields.map((field) => `"${field}" is ${sizes[field]}`).join(', ')}). ` +
      'The weights and config.json are of different models: take both from the same place.',
    {
      details: {
        file,
        tensor: name,
        got: shownShape(got),
        expected: shownShape(expected),
        field: fields.join(),
      },
    },
  );
}

function shownShape(shape: readonly number[]): string {
  return preview(shape).replaceAll(',', ', ');
}

function findIgnored(
  folder: string,
  config: ModelConfig,
  readers: readonly SafetensorsReader[],
  shapes: ReadonlyMap<string, unknown>,
): string[] {
  const extra = readers.flatMap(({ entries }) => [...entries.keys()]).filter((name) => !shapes.has(name));
  const isHarmless = (name: string): boolean =>
    name.endsWith('.rotary_emb.inv_freq') || (config.tiedEmbeddings && name === 'lm_head.weight');
  const unexpected = extra.filter((name) => !isHarmless(name)).sort();
  if (unexpected.length > 0) throw unexpectedTensors(folder, config, unexpected);
  return extra.sort();
}

function unexpectedTensors(where: string, config: ModelConfig, names: readonly string[]): LmError {
  const listed = names.slice(0, 3).map((name) => preview(name));
  const more = names.length > 3 ? ` and ${names.length - 3} more` : '';
  return new LmError(
    'TENSOR_UNEXPECTED',
    `${where} has tensors that ${config.architecture} with this config.json does not use: ${listed.join(', ')}${more}. ` +
      'Check "architectures", the bias switches and "num_hidden_layers" in config.json.',
    { details: { folder: where, tensor: names[0].slice(0, 200), count: names.length } },
  );
}

function collectTensors(model: CheckpointToSave, dtype: 'F32' | 'F16' | 'BF16'): Map<string, TensorInput> {
  const shapes = parameterShapes(model.config);
  const unexpected = [...model.tensors.keys()].filter((name) => !shapes.has(name));
  if (unexpected.length > 0) throw unexpectedTensors('The model to save', model.config, unexpected);
  return new Map(
    [...shapes].map(([name, shape]): [string, TensorInput] => {
      const data = model.tensors.get(name);
      if (data === undefined) {
        throw new LmError(
          'TENSOR_MISSING',
          `The model to save has no tensor "${name}". Pass every parameter.`,
          {
            details: { tensor: name },
          },
        );
      }
      requireFinite(data, name, 'The model to save');
      return [name, { shape, data, dtype }];
    }),
  );
}

/**
 * Fields of config.json that transformers holds to be floats, and since version 5 refuses as integers; a number parsed
 * from `30.0` is written as `30`.
 */
const integralFloats =
  /^(\s*"(?:\w+_logit_softcapping|rms_norm_eps|initializer_range|attention_dropout|rope_theta|\w*factor)": -?\d+)(,?)$/gm;

function writeText(path: string, content: string | Readonly<Record<string, unknown>>): void {
  const text =
    typeof content === 'string'
      ? content
      : `${JSON.stringify(content, null, 2).replace(integralFloats, '$1.0$2')}\n`;
  writeFileAtomically(path, [new TextEncoder().encode(text)]);
}
