import { execFile } from 'node:child_process';
import { mkdir, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** A disk that a test can fill. */
export interface SmallDisk extends AsyncDisposable {
  /** `tmpfs`, or `limit` where mounting is not permitted: then it is the process whose files may not grow. */
  readonly kind: 'tmpfs' | 'limit';
  readonly folder: string;
  /** Leaves room for `bytes` and no more. */
  fill(bytes: number): Promise<void>;
  /** Makes room again. */
  free(): Promise<void>;
}

const SIZE = '8m';

/**
 * A folder of which the space can run out.
 *
 * @param pid - the process that writes there, asked for only where mounting is not permitted
 */
export async function createSmallDisk(folder: string, pid: () => number): Promise<SmallDisk> {
  await mkdir(folder, { recursive: true });
  const isMounted = await execute('mount', ['-t', 'tmpfs', '-o', `size=${SIZE}`, 'tmpfs', folder]).then(
    () => true,
    () => false,
  );
  return isMounted ? mountedDisk(folder) : limitedDisk(folder, pid);
}

function mountedDisk(folder: string): SmallDisk {
  const filler = join(folder, 'filler');
  return {
    kind: 'tmpfs',
    folder,
    async fill(bytes) {
      const { bavail, bsize } = await statfs(folder);
      await writeFile(filler, new Uint8Array(Math.max(0, bavail * bsize - bytes)));
    },
    free: () => rm(filler, { force: true }),
    async [Symbol.asyncDispose]() {
      await execute('umount', ['-l', folder]);
    },
  };
}

/** `setrlimit` from outside: a write beyond the limit fails with EFBIG, as one on a full disk does with ENOSPC. */
function limitedDisk(folder: string, pid: () => number): SmallDisk {
  const limit = (value: string) => execute('prlimit', ['--pid', String(pid()), `--fsize=${value}:`]);
  return {
    kind: 'limit',
    folder,
    async fill(bytes) {
      await limit(String(bytes));
    },
    async free() {
      await limit('unlimited');
    },
    async [Symbol.asyncDispose]() {},
  };
}
