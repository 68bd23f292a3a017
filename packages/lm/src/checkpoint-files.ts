import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { readOptionalJsonFile } from './config-json.js';
import { LmError } from './lm-error.js';
import { preview } from './preview.js';
import { readSafetensors } from './safetensors.js';
import type { SafetensorsReader } from './safetensors.js';

/** The index of a model with a hundred thousand tensors has about 10 MB. */
const maxIndexBytes = 64 << 20;

/** The open weight files of a model folder. */
export interface WeightFiles extends Disposable {
  readonly readers: readonly SafetensorsReader[];
}

/**
 * Opens model.safetensors or, in its absence, every shard that model.safetensors.index.json names.
 * @throws LmError `FILE_MISSING` (with the remedy for other formats), `SHARD_MISSING`, `TENSOR_MISSING` for a tensor that
 * is not in the shard the index puts it in, `JSON_INVALID`, and what `readSafetensors` throws.
 */
export function openWeights(folder: string): WeightFiles {
  const single = join(folder, 'model.safetensors');
  if (existsSync(single)) return openAll([single]);
  const indexPath = join(folder, 'model.safetensors.index.json');
  const index = readOptionalJsonFile(indexPath, maxIndexBytes);
  if (index === null) throw noWeights(folder);
  const shardOf = readWeightMap(indexPath, index);
  const shards = [...new Set(shardOf.values())].sort();
  const missing = shards.filter((shard) => !existsSync(join(folder, shard)));
  if (missing.length > 0) {
    throw new LmError(
      'SHARD_MISSING',
      `${folder} lacks ${missing.slice(0, 10).map(shownName).join(', ')} ` +
        `(${missing.length} of ${shards.length} shards in "weight_map" of ${basename(indexPath)}). ` +
        'Download the missing files into the folder.',
      { details: { folder, shard: shownName(missing[0]), missing: missing.length, total: shards.length } },
    );
  }
  const files = openAll(shards.map((shard) => join(folder, shard)));
  try {
    checkWeightMap(folder, shardOf, files.readers);
    return files;
  } catch (error) {
    files[Symbol.dispose]();
    throw error;
  }
}

function openAll(paths: readonly string[]): WeightFiles {
  const readers: SafetensorsReader[] = [];
  const dispose = (): void => readers.forEach((reader) => reader.close());
  try {
    for (const path of paths) readers.push(readSafetensors(path));
  } catch (error) {
    dispose();
    throw error;
  }
  return { readers, [Symbol.dispose]: dispose };
}

function noWeights(folder: string): LmError {
  const names = existsSync(folder) ? readdirSync(folder) : [];
  const other = names.find(
    (name) => /\.(bin|gguf|pth|pt|onnx)$/.test(name) || name.startsWith('adapter_model'),
  );
  const remedy =
    other === undefined
      ? 'Point to a Hugging Face model folder that holds the weights.'
      : `It has ${other}, which is not read: save the model with save_pretrained(..., safe_serialization=True).`;
  return new LmError(
    'FILE_MISSING',
    `${folder} has neither model.safetensors nor model.safetensors.index.json. ${remedy}`,
    { details: { folder } },
  );
}

function readWeightMap(indexPath: string, index: Readonly<Record<string, unknown>>): Map<string, string> {
  const map = index['weight_map'];
  const isMap = typeof map === 'object' && map !== null && !Array.isArray(map);
  const entries: [string, unknown][] = isMap ? Object.entries(map) : [];
  // A shard lies in the folder itself: a path in the index would read files from elsewhere.
  const isFileName = (shard: unknown): boolean =>
    typeof shard === 'string' && shard.endsWith('.safetensors') && shard === basename(shard);
  const wrong = entries.find(([, shard]) => !isFileName(shard));
  if (entries.length === 0 || wrong) {
    const found = wrong ? `: "${shownName(wrong[0])}" is in ${preview(wrong[1])}` : '';
    throw new LmError(
      'JSON_INVALID',
      `${indexPath} has no "weight_map" of tensors to names of .safetensors files${found}. Download it again.`,
      {
        details: { file: indexPath, field: 'weight_map' },
      },
    );
  }
  return new Map(entries as [string, string][]);
}

function checkWeightMap(
  folder: string,
  shardOf: ReadonlyMap<string, string>,
  readers: readonly SafetensorsReader[],
): void {
  const byShard = new Map(readers.map((reader) => [basename(reader.label), reader]));
  for (const [name, shard] of shardOf) {
    if (byShard.get(shard)?.entries.has(name) === true) continue;
    throw new LmError(
      'TENSOR_MISSING',
      `${join(folder, shard)} has no tensor "${shownName(name)}", although the index places it there. Download the shards again.`,
      { details: { folder, shard, tensor: shownName(name) } },
    );
  }
}

/** A name of a damaged file as a message shows it. */
function shownName(name: string): string {
  return preview(name).slice(1, -1);
}
