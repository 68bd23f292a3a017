import { ParleyError } from '@parley/runtime';
import { interruption, send } from './http.js';
import { requireComplete } from './model-files.js';
import { persist, watchForStall } from './persist.js';
import type { Transport } from './persist.js';
import type { RemoteFile, RemoteModel } from './remote-model.js';

const INDEX = 'model.safetensors.index.json';
const SINGLE = 'model.safetensors';
/** A web server does not say what it has: these are asked for. */
const TEXTS = [
  'config.json',
  'tokenizer.json',
  'generation_config.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
];
/** Names of shards as an index gives them: no folders, no other formats. */
const SHARD = /^[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors$/;
const MAX_INDEX_BYTES = 64 * 1024 * 1024;

/** A folder of a web server. */
export interface WebFolderOptions {
  /** With a slash at its end. */
  url: string;
  /** Bearer token. */
  token: string | undefined;
  transport: Transport;
}

/**
 * Finds a model in a folder of a web server, by the names that its files have.
 *
 * @throws ParleyError CHECKPOINT_INVALID naming what is missing or an index that cannot be right; PERMISSION_DENIED;
 *   SERVICE_UNAVAILABLE; REMOTE_FAILURE
 */
export async function listWebFolder(options: WebFolderOptions): Promise<RemoteModel> {
  const files = new Map<string, RemoteFile>();
  const look = async (name: string) => {
    const found = await head(options, name);
    if (found) files.set(name, found);
    return found;
  };
  for (const name of TEXTS) await look(name);
  const weights = (await look(SINGLE)) ? [] : await shards(options, await look(INDEX));
  for (const name of weights) await look(name);
  const lacking = weights.find((name) => !files.has(name));
  requireComplete([...files.keys()], options.url);
  if (lacking !== undefined)
    throw new ParleyError('CHECKPOINT_INVALID', `${options.url} has no ${lacking}, which its ${INDEX} names`);
  return { label: options.url, files: [...files.values()] };
}

async function head(options: WebFolderOptions, name: string): Promise<RemoteFile | undefined> {
  const url = new URL(encodeURIComponent(name), options.url).href;
  const { token, transport } = options;
  const authorization = token && `Bearer ${token}`;
  return persist(transport, async () => {
    using watch = watchForStall(transport, url);
    let response;
    try {
      response = await send({ url, method: 'HEAD', authorization, signal: watch.signal });
    } catch (error) {
      if (error instanceof ParleyError && error.reason === 'MODEL_UNKNOWN') return undefined;
      throw error;
    }
    const { headers } = response;
    const length = headers.has('content-encoding') ? null : headers.get('content-length');
    const etag = headers.get('etag');
    const size = length === null ? undefined : Number(length);
    return webFile({ url, name, size, etag: etag?.startsWith('"') ? etag : undefined, authorization });
  });
}

interface WebFile extends Pick<RemoteFile, 'name' | 'url' | 'size' | 'etag'> {
  authorization: string | undefined;
}

function webFile({ authorization, ...file }: WebFile): RemoteFile {
  return {
    ...file,
    digest: undefined,
    open: ({ from, validator, signal }) =>
      send({
        url: file.url,
        headers: from > 0 ? { range: `bytes=${from}-`, ...(validator && { 'if-range': validator }) } : {},
        authorization,
        signal,
      }),
  };
}

async function shards(options: WebFolderOptions, index: RemoteFile | undefined): Promise<string[]> {
  if (index === undefined) return [];
  const { url } = index;
  const invalid = (what: string, cause?: unknown) =>
    new ParleyError('CHECKPOINT_INVALID', `${url} ${what}`, { cause });
  if ((index.size ?? 0) > MAX_INDEX_BYTES) throw invalid(`has ${index.size} bytes, more than any index`);
  const text = await persist(options.transport, async () => {
    using watch = watchForStall(options.transport, url);
    const response = await index.open({ from: 0, validator: undefined, signal: watch.signal });
    try {
      return await response.text();
    } catch (error) {
      throw interruption(url, error, watch.signal);
    }
  });
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw invalid(`is no JSON: ${(error as Error).message}`, error);
  }
  const { weight_map: map } = Object(content) as { weight_map?: unknown };
  if (typeof map !== 'object' || map === null) throw invalid('has no weight_map');
  const names = [...new Set(Object.values(map).map(String))].sort();
  const strange = names.find((name) => !SHARD.test(name));
  if (strange !== undefined)
    throw invalid(`names the file "${strange}"; only safetensors beside it are taken`);
  return names;
}
