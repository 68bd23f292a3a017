import { open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { ParleyError, asDiskFull, isParleyError, retry, systemCode } from '@parley/runtime';
import type { Log } from '@parley/runtime';

/** One file to download. */
export interface Download {
  url: string;
  /** Where it goes; what is there already is complete. */
  path: string;
  token: string | undefined;
  /** Bytes that it may have. */
  maxBytes: number;
  /** Told of every piece that arrives. */
  onBytes: (count: number) => void;
  log: Log;
  signal: AbortSignal;
}

const BACKOFF = { attempts: Infinity, baseMs: 500, maxMs: 15_000 };

/**
 * Downloads a file, through broken connections and restarts of this process: what arrived stays in `<path>.part`, and is
 * gone on with where the server says that the file is still the same (RFC 9110, Range with If-Range).
 *
 * @returns its size, or `undefined` if the server has no such file
 * @throws ParleyError MESSAGE_TOO_LARGE, PERMISSION_DENIED, DISK_FULL, or the signal's reason
 */
export async function download(file: Download): Promise<number | undefined> {
  const { path, url, log, signal } = file;
  const there = await sizeOf(path);
  if (there !== undefined) return there;
  return retry(
    {
      ...BACKOFF,
      signal,
      shouldRetry: (error) => !signal.aborted && isParleyError(error, 'SERVICE_UNAVAILABLE'),
      onRetry: (error, attempt, delayMs) => log.warn({ url, err: error, attempt, delayMs }, 'trying again'),
    },
    () => attempt(file),
  );
}

async function attempt(file: Download): Promise<number | undefined> {
  const { url, path, token, maxBytes, signal } = file;
  const [part, tag] = [`${path}.part`, `${path}.etag`];
  const [have, etag] = [(await sizeOf(part)) ?? 0, await readTag(tag)];
  const resume = have > 0 && etag !== undefined;
  const headers = {
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
    ...(resume && { range: `bytes=${have}-`, 'if-range': etag }),
  };
  const response = await ask(url, headers, signal);
  if (response === undefined) return undefined;
  const start = response.status === 206 ? have : 0;
  const length = Number(response.headers.get('content-length') ?? 0);
  if (start + length > maxBytes) throw tooLarge(url, maxBytes);
  const strong = response.headers.get('etag');
  if (strong?.startsWith('"')) await writeFile(tag, strong);
  else await rm(tag, { force: true });
  const size = await store(response, { ...file, path: part }, start);
  if (length > 0 && size !== start + length) {
    throw new ParleyError('SERVICE_UNAVAILABLE', `${url} ended after ${size} of ${start + length} bytes`);
  }
  await rename(part, path);
  await rm(tag, { force: true });
  return size;
}

async function ask(
  url: string,
  headers: Record<string, string>,
  signal: AbortSignal,
): Promise<Response | undefined> {
  let response;
  try {
    response = await fetch(url, { headers, signal });
  } catch (error) {
    signal.throwIfAborted();
    throw unavailable(url, error);
  }
  if (response.ok) return response;
  await response.body?.cancel();
  const { status } = response;
  if (status === 404) return undefined;
  if (status === 401 || status === 403) {
    const message = `${url} answers with status ${status}: it takes a token (PARLEY_MODEL_TOKEN_FILE), or access to be granted`;
    throw new ParleyError('PERMISSION_DENIED', message, { details: { url, status: String(status) } });
  }
  throw unavailable(url, new Error(`it answers with status ${status}`));
}

async function store(response: Response, file: Download, start: number): Promise<number> {
  const { url, path, maxBytes, onBytes, signal } = file;
  const handle = await open(path, start === 0 ? 'w' : 'a');
  let size = start;
  try {
    const body: AsyncIterable<Uint8Array> | Iterable<Uint8Array> = response.body ?? [];
    for await (const chunk of body) {
      size += chunk.byteLength;
      if (size > maxBytes) throw tooLarge(url, maxBytes);
      await handle.writeFile(chunk);
      onBytes(chunk.byteLength);
    }
    await handle.sync();
  } catch (error) {
    signal.throwIfAborted();
    const full = asDiskFull(error, path, size);
    if (isParleyError(full)) throw full;
    throw unavailable(url, error);
  } finally {
    await handle.close();
  }
  return size;
}

function unavailable(url: string, cause: unknown): ParleyError {
  // fetch says no more than "fetch failed"; why lies beneath.
  const { message, cause: beneath } = cause as Error;
  const why = beneath instanceof Error ? beneath.message : message;
  return new ParleyError('SERVICE_UNAVAILABLE', `${url} could not be read: ${why}`, {
    details: { url },
    cause,
  });
}

function tooLarge(url: string, maxBytes: number): ParleyError {
  const message = `${url} makes the model larger than the ${maxBytes} bytes that are left for it; raise PARLEY_MODEL_MAX_BYTES`;
  return new ParleyError('MESSAGE_TOO_LARGE', message, { details: { url } });
}

async function sizeOf(path: string): Promise<number | undefined> {
  return stat(path).then(
    ({ size }) => size,
    (error: unknown) => {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    },
  );
}

async function readTag(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
}
