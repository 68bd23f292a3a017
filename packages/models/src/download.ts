import { open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { ParleyError, asDiskFull, isParleyError, systemCode } from '@parley/runtime';
import { fileSize } from './file-size.js';
import { interruption } from './http.js';
import { Interruption, persist, watchForStall } from './persist.js';
import type { StallWatch, Transport } from './persist.js';
import type { RemoteFile } from './remote-model.js';
import { digestOf } from './verify-digest.js';

/** What bounds and watches a download. */
export interface DownloadOptions {
  transport: Transport;
  /** Bytes that the file may have. */
  maxBytes: number;
  /** Told of every piece that arrives, and with a negative count of what was thrown away again. */
  onBytes: (count: number) => void;
}

/**
 * Downloads a file, through broken and silent connections and restarts of this process. What arrived stays in
 * {@link partialPath} and is gone on with (RFC 9110, Range) where a digest or an entity tag will tell whether it still
 * belongs together. The file appears at `path` complete, with the size and the digest that it should have, or not at all.
 *
 * @returns its size in bytes
 * @throws ParleyError DIGEST_MISMATCH after a second wrong download, MESSAGE_TOO_LARGE, DISK_FULL, REVISION_CONFLICT for a
 *   file that was replaced meanwhile; SERVICE_UNAVAILABLE as {@link persist}; what {@link RemoteFile.open} throws
 */
export async function download(file: RemoteFile, path: string, options: DownloadOptions): Promise<number> {
  const { transport } = options;
  const partial = partialPath(path);
  let isSecondTry = false;
  return persist(transport, async (progressed) => {
    const size = await receive(file, partial, options, progressed);
    const wrong = await wrongContent(file, partial, size);
    if (wrong !== undefined) {
      await discard(partial, options);
      if (isSecondTry) throw new ParleyError('DIGEST_MISMATCH', wrong, { details: { url: file.url } });
      isSecondTry = true;
      throw new Interruption(wrong);
    }
    await rename(partial, path);
    await rm(tagOf(partial), { force: true });
    return size;
  });
}

/** Where a file is until it is whole. Not `<path>.incomplete`: that is where older programs of Hugging Face write at the same time. */
export function partialPath(path: string): string {
  return `${path}.parley.incomplete`;
}

/** Bytes of a file that an earlier download left. */
export async function downloadedBytes(path: string): Promise<number> {
  return (await fileSize(partialPath(path))) ?? 0;
}

/** Fills the partial file up. @returns its size */
async function receive(
  file: RemoteFile,
  partial: string,
  options: DownloadOptions,
  progressed: () => void,
): Promise<number> {
  const { transport, maxBytes } = options;
  if (file.size !== undefined && file.size > maxBytes) throw tooLarge(file, maxBytes);
  const validator = await readTag(partial);
  let from = (await fileSize(partial)) ?? 0;
  if (from > 0 && !canGoOn(file, from, validator)) from = await discard(partial, options);
  if (from === file.size && from > 0) return from;

  using watch = watchForStall(transport, file.url);
  const response = await file.open({ from, validator, signal: watch.signal });
  if (response.status === 416) {
    await discard(partial, options);
    throw new Interruption(`${file.url} does not go on at byte ${from}`);
  }
  const start = startOf(response, file.url, from);
  if (start === 0 && from > 0) await discard(partial, options);
  const total = file.size ?? totalOf(response, start);
  if (total !== undefined && total > maxBytes) throw tooLarge(file, maxBytes);
  await keepTag(partial, file, response);
  const size = await store(response, file, partial, start, { ...options, watch, progressed, maxBytes });
  if (total !== undefined && size < total)
    throw new Interruption(`${file.url} ended after ${size} of ${total} bytes`);
  return size;
}

/** Whether what is there can be told to be of this file. @param validator - entity tag that it had */
function canGoOn({ size, digest, etag }: RemoteFile, from: number, validator: string | undefined): boolean {
  if (from > (size ?? Infinity)) return false;
  if (validator === undefined) return digest !== undefined;
  return etag === undefined || etag === validator;
}

/** Where the content of an answer begins. */
function startOf(response: Response, url: string, from: number): number {
  if (response.status !== 206) return 0;
  const start = Number(/^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1]);
  if (start === from) return start;
  throw new Interruption(`${url} was asked for byte ${from} on and answers with another range`);
}

function totalOf({ headers }: Response, start: number): number | undefined {
  const length = headers.get('content-length');
  return length === null || headers.has('content-encoding') ? undefined : start + Number(length);
}

interface StoreOptions extends DownloadOptions {
  watch: StallWatch;
  progressed: () => void;
}

async function store(
  response: Response,
  file: RemoteFile,
  path: string,
  start: number,
  { watch, progressed, maxBytes, onBytes }: StoreOptions,
): Promise<number> {
  const { url } = file;
  const handle = await open(path, start === 0 ? 'w' : 'a');
  let size = start;
  try {
    const body: AsyncIterable<Uint8Array> | Iterable<Uint8Array> = response.body ?? [];
    for await (const chunk of body) {
      if (size + chunk.byteLength > (file.size ?? maxBytes)) throw longer(file, maxBytes);
      await handle.writeFile(chunk);
      size += chunk.byteLength;
      watch.alive();
      progressed();
      onBytes(chunk.byteLength);
    }
    await handle.sync();
  } catch (error) {
    const full = asDiskFull(error, path, size);
    if (isParleyError(full)) throw full;
    throw systemCode(error) === undefined ? interruption(url, error, watch.signal) : error;
  } finally {
    await handle.close();
  }
  return size;
}

async function wrongContent(file: RemoteFile, path: string, size: number): Promise<string | undefined> {
  const { url, digest } = file;
  if (file.size !== undefined && size !== file.size)
    return `${url} has ${size} bytes in place of ${file.size}`;
  if (digest === undefined) return undefined;
  const found = await digestOf(path, digest.algorithm);
  if (found === digest.hex) return undefined;
  return (
    `${url} has the ${digest.algorithm} digest ${found}, but ${digest.hex} is expected: ` +
    'it was damaged or replaced on its way, or where it lies'
  );
}

/** Throws a partial file away. @returns the bytes that are there then: none */
async function discard(partial: string, { onBytes }: DownloadOptions): Promise<0> {
  onBytes(-((await fileSize(partial)) ?? 0));
  await rm(partial, { force: true });
  await rm(tagOf(partial), { force: true });
  return 0;
}

const tagOf = (partial: string) => `${partial}.etag`;

async function readTag(partial: string): Promise<string | undefined> {
  return readFile(tagOf(partial), 'utf8').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
}

/** Remembers by what a later process can tell whether the file is still the same, where nothing else tells. */
async function keepTag(partial: string, { digest, etag }: RemoteFile, response: Response): Promise<void> {
  if (digest !== undefined) return;
  const strong = etag ?? response.headers.get('etag');
  if (strong?.startsWith('"')) await writeFile(tagOf(partial), strong);
}

function longer(file: RemoteFile, maxBytes: number): Error {
  if (file.size === undefined) return tooLarge(file, maxBytes);
  return new Interruption(`${file.url} sends more than the ${file.size} bytes that it should have`);
}

function tooLarge({ url }: RemoteFile, maxBytes: number): ParleyError {
  const message = `${url} makes the model larger than the ${maxBytes} bytes that are left for it; raise PARLEY_MODEL_MAX_BYTES`;
  return new ParleyError('MESSAGE_TOO_LARGE', message, { details: { url } });
}
