import { randomUUID } from 'node:crypto';
import { mkdir, open, rename, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { ParleyError, sleep, systemCode } from '@parley/runtime';

/** How {@link withLockFile} waits. */
export interface LockOptions {
  signal: AbortSignal;
  /** Told once if somebody else has the lock. */
  onWait: () => void;
  /** Age of the last sign of life after which its holder counts as gone. */
  staleMs?: number;
}

const STALE_MS = 30_000;
const POLL_MS = 300;

/**
 * Does work that one process at a time may do, on this machine or on others that share the folder. The holder touches the
 * file while it works; a file that nobody touched for a while is what a killed process left, and is taken over.
 *
 * Best effort, on purpose: two processes that take a dead one's lock in the same instant both go on. What they download is
 * checked against its digest, and is put in place by one rename.
 *
 * @throws ParleyError CONFIG_INVALID for a folder that cannot be written to; the signal's reason; what the work throws
 */
export async function withLockFile<T>(
  path: string,
  options: LockOptions,
  work: () => Promise<T>,
): Promise<T> {
  const { signal, onWait, staleMs = STALE_MS } = options;
  await makeFolder(dirname(path));
  let hasWaited = false;
  while (!(await take(path, staleMs))) {
    if (!hasWaited) onWait();
    hasWaited = true;
    await sleep(POLL_MS, signal);
  }
  const beat = setInterval(() => {
    const now = new Date();
    // A file that is gone was taken over by somebody who thought this process dead.
    utimes(path, now, now).catch(() => clearInterval(beat));
  }, staleMs / 6);
  try {
    return await work();
  } finally {
    clearInterval(beat);
    await rm(path, { force: true });
  }
}

/** Makes a folder that is to be written to. @throws ParleyError CONFIG_INVALID with the remedy */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    throw unwritable(folder, error);
  }
}

async function take(path: string, staleMs: number): Promise<boolean> {
  try {
    const file = await open(path, 'wx');
    await file.writeFile(`${hostname()} ${process.pid}\n`);
    await file.close();
    return true;
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw unwritable(dirname(path), error);
  }
  const touched = await stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => Infinity,
  );
  if (Date.now() - touched > staleMs) await remove(path);
  return false;
}

async function remove(path: string): Promise<void> {
  const aside = `${path}.${randomUUID()}`;
  try {
    await rename(path, aside);
  } catch (error) {
    // Somebody else was faster.
    if (systemCode(error) === 'ENOENT') return;
    throw error;
  }
  await rm(aside, { force: true });
}

function unwritable(folder: string, cause: unknown): ParleyError {
  const message =
    `Models are kept below ${folder}, which cannot be written to: ${(cause as Error).message}. ` +
    'Set HF_HOME, HF_HUB_CACHE or PARLEY_CACHE to a folder that can';
  return new ParleyError('CONFIG_INVALID', message, { details: { folder }, cause });
}
