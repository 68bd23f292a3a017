import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { requireFinite } from './checkpoint.js';
import { createConfigFields } from './config-fields.js';
import type { ConfigFields } from './config-fields.js';
import { readJsonFile } from './config-json.js';
import type { ModelConfig } from './config.js';
import type { Trainable } from './language-model.js';
import { LmError } from './lm-error.js';
import { adapterName, loraAdapters, loraLinears, moduleOf } from './lora.js';
import type { LoraAdapter } from './lora.js';
import { writeFileAtomically } from './safetensors-file.js';
import { decodeSafetensors, encodeSafetensors, readSafetensors, writeSafetensors } from './safetensors.js';
import type { SafetensorsReader, TensorInput } from './safetensors.js';

/** A LoRA setting. */
export type LoraSettings = Trainable & { readonly kind: 'lora' };

/** A LoRA adapter as the engine takes it. */
export interface PeftAdapter {
  /** What `loadLanguageModel` is to train. */
  readonly trainable: LoraSettings;
  /** What `LanguageModel.importState` then takes: A and B in float32, a safetensors file. */
  readonly weights: Uint8Array<ArrayBuffer>;
  /** Settings of adapter_config.json that say how PEFT would go on training and that are not followed here, as `key value`. */
  readonly ignored: readonly string[];
}

/** An adapter to write. */
export interface PeftAdapterToSave {
  readonly config: ModelConfig;
  readonly trainable: LoraSettings;
  /** The `weights` of an exported state. */
  readonly weights: Uint8Array;
  /** Where PEFT finds the model the adapter belongs to: a name on the hub or a folder. */
  readonly baseModel: string;
  /** How A and B are stored; `F32`, the default, keeps them exactly. */
  readonly dtype?: 'F32' | 'F16' | 'BF16';
}

const configName = 'adapter_config.json';
const weightsName = 'adapter_model.safetensors';

/** PEFT's own defaults. */
const defaults = { r: 8, lora_alpha: 8, lora_dropout: 0, init_lora_weights: true };

/** Keys that are read, or that do not bear on what an adapter with its weights computes. Any other must be off. */
const harmlessKeys = new Set([
  ...['peft_type', 'r', 'lora_alpha', 'use_rslora', 'lora_dropout', 'init_lora_weights'],
  ...['task_type', 'base_model_name_or_path', 'revision', 'auto_mapping', 'peft_version', 'inference_mode'],
  // The names in the weights file say which modules have an adapter.
  ...['target_modules', 'exclude_modules', 'layers_to_transform', 'layers_pattern', 'ensure_weight_tying'],
  // Settings of initialisations, of quantisation and of Megatron, without effect unless those are on.
  ...['loftq_config', 'eva_config', 'corda_config', 'lora_ga_config', 'qalora_group_size', 'runtime_config'],
  ...['megatron_config', 'megatron_core'],
]);

/** Initialisations that leave the base weights as they are. */
const plainInitialisations: unknown[] = [true, false, 'gaussian', 'orthogonal', 'eva'];

/**
 * Reads an adapter that PEFT saved (Mangrulkar et al., github.com/huggingface/peft): rank, scale and modules from its
 * files, A and B widened to float32. Rank-stabilised scaling (α/√r) is kept as the ordinary alpha of the same scale, α·√r.
 * @param config the model the adapter is for
 * @throws LmError `FILE_MISSING`, `JSON_INVALID`, `CONFIG_INVALID` for what this engine cannot express (DoRA, biases,
 * further modules, ranks by pattern, …), `TENSOR_MISSING`, `TENSOR_UNEXPECTED`, `TENSOR_SHAPE_MISMATCH`,
 * `TENSOR_NOT_FINITE`, and what `readSafetensors` throws; each names file and field.
 */
export function loadPeftAdapter(folder: string, config: ModelConfig): PeftAdapter {
  const path = join(folder, configName);
  const source = readJsonFile(path);
  const fields = createConfigFields(source, defaults, path);
  refuseUnsupported(source, fields);
  const rank = fields.size('r', Math.max(config.hiddenSize, config.intermediateSize));
  const alpha = fields.positive('lora_alpha') * (fields.flag('use_rslora') ? Math.sqrt(rank) : 1);
  using reader = openAdapter(folder);
  const trainable = { kind: 'lora', rank, alpha, targets: targetsOf(reader, config), seed: 0 } as const;
  const weights = encodeSafetensors(readAdapter(reader, loraAdapters(config, trainable)), { format: 'pt' });
  const dropout = fields.fraction('lora_dropout');
  return { trainable, weights, ignored: dropout === 0 ? [] : [`lora_dropout ${dropout}`] };
}

/**
 * Writes an adapter as PEFT does, creating the folder if need be: adapter_model.safetensors, then adapter_config.json with
 * keys that every PEFT since 0.4 knows.
 * @throws LmError `TENSOR_*` when the weights are not those of the settings, before anything is written;
 * `FILE_NOT_WRITTEN`.
 */
export function savePeftAdapter(folder: string, adapter: PeftAdapterToSave): void {
  const { config, trainable, dtype = 'F32' } = adapter;
  using reader = decodeSafetensors(adapter.weights, 'The adapter to save');
  const adapters = loraAdapters(config, trainable);
  const tensors = readAdapter(reader, adapters);
  mkdirSync(folder, { recursive: true });
  const stored = [...tensors].map(([name, tensor]) => [name, { ...tensor, dtype }] as const);
  writeSafetensors(join(folder, weightsName), new Map(stored), { format: 'pt' });
  const content = {
    base_model_name_or_path: adapter.baseModel,
    bias: 'none',
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    lora_alpha: trainable.alpha,
    lora_dropout: 0,
    peft_type: 'LORA',
    r: trainable.rank,
    target_modules: [...new Set(adapters.map(({ weight }) => moduleOf(weight)))],
    task_type: 'CAUSAL_LM',
    use_rslora: false,
  };
  const text = `${JSON.stringify(content, null, 2)}\n`;
  writeFileAtomically(join(folder, configName), [new TextEncoder().encode(text)]);
}

function refuseUnsupported(source: Readonly<Record<string, unknown>>, fields: ConfigFields): void {
  if (source['peft_type'] !== 'LORA') throw fields.invalid('peft_type', '"LORA"');
  if (!plainInitialisations.includes(source['init_lora_weights'] ?? true)) {
    const remedy =
      'true, "gaussian", "orthogonal" or "eva": other initialisations change the base weights; have PEFT convert the ' +
      'adapter when saving it (path_initial_model_for_weight_conversion)';
    throw fields.invalid('init_lora_weights', remedy);
  }
  for (const [key, value] of Object.entries(source)) {
    if (harmlessKeys.has(key) || isOff(value)) continue;
    const off = key === 'bias' ? '"none"' : 'it switched off';
    throw fields.invalid(key, `${off}: this engine runs plain LoRA on linear layers`);
  }
}

function isOff(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.keys(value).length === 0;
  return value === null || value === false || value === 'none';
}

function openAdapter(folder: string): SafetensorsReader {
  const path = join(folder, weightsName);
  if (!existsSync(path) && existsSync(join(folder, 'adapter_model.bin'))) {
    throw new LmError(
      'FILE_MISSING',
      `${folder} has adapter_model.bin, which is not read: save the adapter with save_pretrained(..., safe_serialization=True).`,
      { details: { folder } },
    );
  }
  return readSafetensors(path);
}

/** The names of the modules that have an adapter, in the order of the forward pass. */
function targetsOf(reader: SafetensorsReader, config: ModelConfig): string[] {
  const linears = loraLinears(config);
  const known = new Set(linears.flatMap((weight) => [adapterName(weight, 'A'), adapterName(weight, 'B')]));
  for (const name of reader.entries.keys()) {
    if (known.has(name)) continue;
    throw new LmError(
      'TENSOR_UNEXPECTED',
      `${reader.label} has "${name}", which is no adapter of a linear layer of ${config.architecture} with ` +
        `${config.layerCount} layers. Take the adapter of this very model; embeddings and the output matrix cannot have one.`,
      { details: { file: reader.label, tensor: name } },
    );
  }
  const present = linears.filter((weight) => reader.entries.has(adapterName(weight, 'A')));
  if (present.length > 0) return [...new Set(present.map(moduleOf))];
  throw new LmError('TENSOR_MISSING', `${reader.label} has no adapter of any layer. Save it again.`, {
    details: { file: reader.label },
  });
}

/** All of A and B, checked. Targets are whole: a module that some layers adapt and others do not is refused. */
function readAdapter(
  reader: SafetensorsReader,
  adapters: readonly LoraAdapter[],
): Map<string, TensorInput & { data: Float32Array }> {
  const wanted = adapters.flatMap(({ nameA, shapeA, nameB, shapeB }) => [
    [nameA, shapeA] as const,
    [nameB, shapeB] as const,
  ]);
  const names = new Set(wanted.map(([name]) => name));
  for (const name of reader.entries.keys()) {
    if (names.has(name)) continue;
    throw new LmError('TENSOR_UNEXPECTED', `${reader.label} has "${name}", which its settings do not name.`, {
      details: { file: reader.label, tensor: name },
    });
  }
  return new Map(
    wanted.map(([name, shape]) => {
      if (!reader.entries.has(name)) {
        throw new LmError(
          'TENSOR_MISSING',
          `${reader.label} has no "${name}": an adapter is needed on every layer, with A and B. Train it without ` +
            'layers_to_transform and with modules named alike in all layers.',
          { details: { file: reader.label, tensor: name } },
        );
      }
      const data = reader.readFloats(name, shape);
      requireFinite(data, name, reader.label);
      return [name, { shape, data }];
    }),
  );
}
