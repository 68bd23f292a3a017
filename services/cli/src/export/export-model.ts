import { copyFileSync, existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  LmError,
  loadLanguageModel,
  loadPeftAdapter,
  readCommittedState,
  readModelConfig,
  readSafetensors,
  saveCheckpoint,
  savePeftAdapter,
} from '@parley/lm';
import { checkpointDigest } from '@parley/models';
import type { LoraSettings, ModelConfig, Trainable } from '@parley/lm';
import { ParleyError } from '@parley/runtime';

export const exportFormats = ['peft', 'merged'] as const;
/** An adapter for PEFT, or a whole model. */
export type ExportFormat = (typeof exportFormats)[number];

/** What {@link exportModel} is asked for; paths are absolute. */
export interface ExportRequest {
  readonly model: string;
  readonly from: string;
  readonly out: string;
  readonly format?: ExportFormat;
  readonly version?: number;
  readonly alpha?: number;
  readonly dtype: 'F32' | 'F16' | 'BF16';
}

/** What {@link exportModel} wrote. */
export interface ExportResult {
  readonly out: string;
  readonly format: ExportFormat;
  /** Where the weights came from, in words. */
  readonly summary: string;
}

interface TrainedWeights {
  readonly trainable: Trainable;
  readonly weights: Uint8Array;
  readonly origin: string;
}

/** Files of a model folder that go with its weights. */
const companions =
  /^(tokenizer|tokenizer_config|generation_config|special_tokens_map|added_tokens|vocab)\.json$|^(chat_template\.jinja|merges\.txt|tokenizer\.model)$/;

/**
 * Writes trained weights as an adapter or as a whole model.
 *
 * @throws ParleyError CONFIG_INVALID for a request that contradicts itself and for files that cannot be used; DISK_FULL
 */
export async function exportModel(request: ExportRequest): Promise<ExportResult> {
  const { model, out, dtype } = request;
  requireEmpty(out);
  try {
    const config = readModelConfig(model);
    const { trainable, weights, origin } = await readTrained(request, config);
    const format = request.format ?? (trainable.kind === 'lora' ? 'peft' : 'merged');
    if (format === 'merged') await writeMerged(request, trainable, weights);
    else if (trainable.kind === 'lora')
      savePeftAdapter(out, { config, trainable, weights, baseModel: model, dtype });
    else throw invalid(`${origin} has all weights, not an adapter. Export it with --format merged`);
    return {
      out,
      format,
      summary: `${format === 'peft' ? 'Adapter' : 'Model'} of ${origin} written to ${out}`,
    };
  } catch (error) {
    throw error instanceof LmError ? fromLmError(error) : error;
  }
}

async function readTrained(request: ExportRequest, config: ModelConfig): Promise<TrainedWeights> {
  const { from, alpha, version } = request;
  if (existsSync(join(from, 'head.safetensors'))) return readState(request);
  if (version !== undefined)
    throw invalid(`--at-version chooses among those of a state folder; ${from} is none`);
  if (existsSync(join(from, 'adapter_config.json'))) {
    if (alpha !== undefined) throw invalid(`--alpha is for snapshots; ${from} says its own`);
    const { trainable, weights } = loadPeftAdapter(from, config);
    return { trainable, weights, origin: `the adapter ${from}` };
  }
  if (!from.endsWith('.safetensors')) {
    throw invalid(
      `--from ${from} is neither a peer's state folder (head.safetensors), nor a PEFT folder (adapter_config.json), nor a ` +
        'snapshot (a file NAME.safetensors)',
    );
  }
  return {
    trainable: snapshotSettings(from, alpha),
    weights: await readFile(from),
    origin: `the snapshot ${from}`,
  };
}

async function readState({ model, from, version, alpha }: ExportRequest): Promise<TrainedWeights> {
  if (alpha !== undefined) throw invalid(`--alpha is for snapshots; ${from} says its own`);
  const state = readCommittedState(from, version);
  const found = await checkpointDigest(model);
  if (found !== state.baseSha256) {
    throw invalid(
      `Peer ${state.peer} was trained from the checkpoint with SHA-256 ${state.baseSha256}, but ${model} has ${found}. Give ` +
        'the very folder it was started with',
    );
  }
  return { ...state, origin: `version ${state.version} of peer ${state.peer}` };
}

/** Rank and layers as the tensors have them; a snapshot of all weights has no adapter's. */
function snapshotSettings(path: string, alpha: number | undefined): Trainable {
  using reader = readSafetensors(path);
  const names = [...reader.entries.keys()].filter((name) => name.endsWith('.lora_A.weight'));
  if (names.length === 0) return { kind: 'full' };
  if (alpha === undefined) {
    throw invalid(
      `The snapshot ${path} does not say its alpha: give --alpha, as in PARLEY_TRAIN=lora:RANK:ALPHA`,
    );
  }
  const targets = [...new Set(names.map((name) => name.split('.').at(-3)!))];
  const [rank] = reader.entries.get(names[0])!.shape;
  return { kind: 'lora', rank, alpha, targets, seed: 0 } satisfies LoraSettings;
}

/** The engine merges, so that the model is what the peer serves. */
async function writeMerged(
  { model: folder, out, dtype }: ExportRequest,
  trainable: Trainable,
  weights: Uint8Array,
): Promise<void> {
  await using model = await loadLanguageModel({ folder, trainable });
  await model.importState({ weights });
  const merged = await model.exportMerged();
  const tensors = new Map([...merged].map(([name, { data }]) => [name, data]));
  saveCheckpoint(out, { config: readModelConfig(folder), tensors, dtype });
  for (const name of readdirSync(folder).filter((name) => companions.test(name)))
    copyFileSync(join(folder, name), join(out, name));
}

function requireEmpty(folder: string): void {
  if (!existsSync(folder) || readdirSync(folder).length === 0) return;
  throw invalid(
    `--out ${folder} is not empty: choose a new folder, so that nothing of another model is left among the files`,
  );
}

/** The files are those the command line names, so what is wrong with them is wrong with it. */
function fromLmError(error: LmError): unknown {
  if (error.reason === 'WORKER_FAILED') return error;
  const isFull = ['ENOSPC', 'EDQUOT'].includes(String(error.details['code']));
  return new ParleyError(isFull ? 'DISK_FULL' : 'CONFIG_INVALID', error.message, { cause: error });
}

function invalid(message: string): ParleyError {
  return new ParleyError('CONFIG_INVALID', message);
}
