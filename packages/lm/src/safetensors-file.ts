import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { LmError } from './lm-error.js';

/**
 * Writes `chunks` to a temporary file beside `path`, flushes it to disk and renames it to `path`, so that a reader sees
 * the old file or the whole new one. The temporary file is removed on failure. One writer a path at a time.
 * @throws LmError `FILE_NOT_WRITTEN`, naming the path and, for a full disk, the remedy; whatever a chunk's producer throws.
 */
export function writeFileAtomically(path: string, chunks: Iterable<Uint8Array>): void {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    const fd = openSync(temporary, 'w');
    try {
      for (const chunk of chunks) writeFully(fd, chunk);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
    syncFolder(dirname(path));
  } catch (cause) {
    rmSync(temporary, { force: true });
    if (cause instanceof LmError) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    const remedy =
      code === 'ENOSPC' || code === 'EDQUOT'
        ? 'the disk is full. Free some space and try again'
        : `${message}. Check that the folder exists and may be written to`;
    throw new LmError(
      'FILE_NOT_WRITTEN',
      `${path} was not written: ${remedy}; an earlier file there is unchanged.`,
      {
        details: { file: path, ...(code === undefined ? {} : { code }) },
        cause,
      },
    );
  }
}

function writeFully(fd: number, chunk: Uint8Array): void {
  const maxWriteBytes = 1 << 28;
  for (let done = 0; done < chunk.byteLength;) {
    done += writeSync(fd, chunk, done, Math.min(maxWriteBytes, chunk.byteLength - done));
  }
}

/** Makes the rename itself durable; Windows cannot open a folder and needs no such step. */
function syncFolder(folder: string): void {
  if (process.platform === 'win32') return;
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
