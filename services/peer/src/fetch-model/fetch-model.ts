import { copyFile, mkdir, readFile, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decisiveFile } from '@parley/lm';
import { ParleyError, sha256 as sha256Of, syncFolder, systemCode, withDeadline } from '@parley/runtime';
import type { Log } from '@parley/runtime';
import { checkpointDigest } from '../checkpoint-digest.js';
import { download } from './download.js';
import type { FetchConfig } from './fetch-config.js';

const INDEX = 'model.safetensors.index.json';
const SINGLE = 'model.safetensors';
const REQUIRED = ['config.json', 'tokenizer.json'] as const;
const OPTIONAL = ['tokenizer_config.json', 'generation_config.json', 'chat_template.jinja'] as const;
/** Names of shards as an index gives them: no folders, no other formats. */
const SHARD = /^[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors$/;
/** Nobody's configuration or tokenizer is larger. */
const MAX_TEXT_BYTES = 256 * 1024 * 1024;
const PROGRESS_MS = 5000;

/**
 * Brings a Hugging Face model folder to where a peer finds it: config.json, tokenizer.json, what belongs to them, and
 * weights as safetensors, whole or in shards. Nothing else is fetched, so that nothing can be executed. The folder appears
 * at once, complete and with the digest that was asked for, or not at all. Idempotent; goes on after an interruption.
 *
 * @throws ParleyError CONFIG_INVALID, CHECKPOINT_INVALID naming the file that is missing, DIGEST_MISMATCH naming both
 *   digests, MESSAGE_TOO_LARGE, PERMISSION_DENIED, DISK_FULL, DEADLINE_EXCEEDED
 */
export async function fetchModel(config: FetchConfig, log: Log, signal?: AbortSignal): Promise<void> {
  const { uri, model, sha256, deadlineMs } = config;
  const url = new URL(uri);
  if (url.protocol === 'http:' && sha256 === undefined) {
    throw new ParleyError(
      'CONFIG_INVALID',
      `${uri} can be changed on its way: give PARLEY_MODEL_SHA256, or use https://`,
    );
  }
  if (await isThere(model)) {
    await requireDigest(model, sha256);
    return log.info({ model }, 'the model is there already');
  }
  // Of this source: what came of another must never be gone on with.
  const partial = `${model}.${sha256Of(uri).slice(0, 8)}.partial`;
  await mkdir(partial, { recursive: true });
  const what = `bringing ${uri} to ${model}`;
  await withDeadline({ deadlineMs, what, ...(signal && { signal }) }, (limit) =>
    url.protocol === 'file:' ? copy(fileURLToPath(url), partial) : fetchFiles(config, partial, log, limit),
  );
  try {
    await requireDigest(partial, sha256);
  } catch (error) {
    // Going on with it would end the same way.
    await rm(partial, { recursive: true, force: true });
    throw error;
  }
  await syncFolder(partial);
  await rename(partial, model);
  log.info({ model, sha256: await checkpointDigest(model) }, 'the model is complete');
}

async function requireDigest(folder: string, wanted: string | undefined): Promise<void> {
  if (wanted === undefined) return;
  const found = await checkpointDigest(folder);
  if (found === wanted) return;
  throw new ParleyError(
    'DIGEST_MISMATCH',
    `The model in ${folder} has the digest ${found}, but PARLEY_MODEL_SHA256 is ${wanted}; it is another model or damaged`,
    { details: { folder, found, wanted } },
  );
}

async function copy(source: string, target: string): Promise<void> {
  const names = await readdir(source).catch((error: unknown) => {
    throw missing(source, error);
  });
  for (const name of names.filter((found) => decisiveFile.test(found)))
    await copyFile(join(source, name), join(target, name));
}

async function fetchFiles(
  { uri, token, maxBytes }: FetchConfig,
  folder: string,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const base = uri.endsWith('/') ? uri : `${uri}/`;
  const progress = showProgress(log);
  let left = maxBytes;
  /** @returns whether the server has it */
  const get = async (name: string, limit = Infinity): Promise<boolean> => {
    const { href } = new URL(name, base);
    const size = await download({
      url: href,
      path: join(folder, name),
      token,
      maxBytes: Math.min(left, limit),
      onBytes: progress.add,
      log,
      signal,
    });
    left -= size ?? 0;
    return size !== undefined;
  };
  try {
    for (const name of REQUIRED) if (!(await get(name, MAX_TEXT_BYTES))) throw missing(`${base}${name}`);
    for (const name of OPTIONAL) await get(name, MAX_TEXT_BYTES);
    if (await get(INDEX, MAX_TEXT_BYTES)) {
      for (const shard of await shardsOf(join(folder, INDEX), base))
        if (!(await get(shard))) throw missing(`${base}${shard}`);
    } else if (!(await get(SINGLE))) {
      throw missing(`${base}${SINGLE} (and no ${INDEX} either)`);
    }
  } finally {
    progress.end();
  }
}

async function shardsOf(index: string, base: string): Promise<string[]> {
  const invalid = (what: string, cause?: unknown) =>
    new ParleyError('CHECKPOINT_INVALID', `${base}${INDEX} ${what}`, { cause });
  let content: unknown;
  try {
    content = JSON.parse(await readFile(index, 'utf8'));
  } catch (error) {
    throw invalid(`is no JSON: ${(error as Error).message}`, error);
  }
  const { weight_map: map } = Object(content) as { weight_map?: unknown };
  if (typeof map !== 'object' || map === null) throw invalid('has no weight_map');
  const shards = [...new Set(Object.values(map).map(String))];
  const strange = shards.find((name) => !SHARD.test(name));
  if (strange !== undefined)
    throw invalid(`names the file "${strange}"; only safetensors beside it are taken`);
  return shards.sort();
}

function showProgress(log: Log): { add: (bytes: number) => void; end: () => void } {
  const started = performance.now();
  let total = 0;
  const show = () => {
    const megabytes = total / 1e6;
    const rate = (megabytes / (performance.now() - started)) * 1000;
    log.info({ megabytes: Math.round(megabytes), megabytesPerSecond: Number(rate.toFixed(1)) }, 'fetching');
  };
  const timer = setInterval(show, PROGRESS_MS);
  return {
    add: (bytes) => void (total += bytes),
    end() {
      clearInterval(timer);
      show();
    },
  };
}

async function isThere(folder: string): Promise<boolean> {
  return stat(folder).then(
    () => true,
    (error: unknown) => {
      if (systemCode(error) === 'ENOENT') return false;
      throw error;
    },
  );
}

function missing(what: string, cause?: unknown): ParleyError {
  return new ParleyError(
    'CHECKPOINT_INVALID',
    `${what} is missing; PARLEY_MODEL_URI must name a Hugging Face model folder with safetensors`,
    { cause },
  );
}
