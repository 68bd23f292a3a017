import { stat } from 'node:fs/promises';
import { systemCode } from '@parley/runtime';

/** Bytes of a file, links followed; undefined if there is none. */
export async function fileSize(path: string): Promise<number | undefined> {
  return stat(path).then(
    ({ size }) => size,
    (error: unknown) => {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    },
  );
}
