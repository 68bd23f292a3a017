import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { ParleyError, systemCode } from './errors.js';

/** Writes content to an open file. Split out so that a test can fill the disk without filling a disk. */
export interface FileSink {
  writeFile(content: Uint8Array | string): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** How {@link writeFileAtomic} writes. */
export interface AtomicWriteOptions {
  /** Opens the temporary file; Node's `open(path, 'wx')` unless given. */
  openFile?: (path: string) => Promise<FileSink>;
}

/**
 * Replaces a file as one step: a temporary file beside it is written and synced, renamed over it, and the folder
 * synced, so that after a crash at any instant the path holds the whole old or the whole new content.
 * Missing parent folders are made.
 *
 * @throws ParleyError DISK_FULL naming the path and the bytes needed; the earlier file is intact and the temporary
 *   file removed. Other system errors pass unchanged, under the same promise.
 */
export async function writeFileAtomic(
  path: string,
  content: Uint8Array | string,
  options: AtomicWriteOptions = {},
): Promise<void> {
  const folder = dirname(path);
  const temporary = join(folder, `.${randomUUID()}.tmp`);
  const { openFile = (name: string) => open(name, 'wx') } = options;
  try {
    await mkdir(folder, { recursive: true });
    await writeSynced(await openFile(temporary), content);
    await rename(temporary, path);
    await syncFolder(folder);
  } catch (error) {
    await rm(temporary, { force: true });
    throw asDiskFull(error, path, Buffer.byteLength(content));
  }
}

async function writeSynced(file: FileSink, content: Uint8Array | string): Promise<void> {
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes renames and new entries of a folder durable (POSIX: the folder has its own fsync). */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** DISK_FULL for the errors a full disk or an exhausted quota gives; any other error as it is. */
export function asDiskFull(error: unknown, path: string, bytes: number): unknown {
  const code = systemCode(error);
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error;
  return new ParleyError(
    'DISK_FULL',
    `No room on the disk to write ${path}: ${bytes} bytes are needed; free space there and try again (the earlier file is intact)`,
    { details: { path, bytes: String(bytes) }, cause: error },
  );
}
