import { download } from './download.js';
import type { FetchObserver } from './fetch-observer.js';
import type { Transport } from './persist.js';
import type { RemoteFile } from './remote-model.js';
import { requireRoom } from './room.js';

/** A file to fetch, and where it goes. */
export interface WantedFile {
  file: RemoteFile;
  path: string;
  /** Bytes of it that are there already; all of them if it is complete. */
  presentBytes: number;
  isComplete: boolean;
}

/** What {@link fetchFiles} is given besides the files. */
export interface FetchContext {
  label: string;
  /** Folder whose disk takes them. */
  folder: string;
  maxBytes: number;
  transport: Transport;
  observer: FetchObserver;
}

/**
 * Fetches what is not there yet, one file after the other, after looking whether all of it is allowed and fits.
 *
 * @throws ParleyError as `requireRoom` and {@link download}
 */
export async function fetchFiles(wanted: readonly WantedFile[], context: FetchContext): Promise<void> {
  const { maxBytes, transport, observer } = context;
  const sizes = wanted.map(({ file }) => file.size);
  const totalBytes = sizes.reduce(
    (sum, size) => (sum === undefined || size === undefined ? undefined : sum + size),
    0,
  );
  const presentBytes = wanted.reduce((sum, file) => sum + file.presentBytes, 0);
  const plan = { ...context, totalBytes, presentBytes };
  await requireRoom(plan, maxBytes);
  const missing = wanted.filter(({ isComplete }) => !isComplete);
  if (missing.length === 0) return;
  observer.begin({ ...plan, files: missing.length });
  let isComplete = false;
  try {
    let left =
      maxBytes - wanted.reduce((sum, { isComplete, presentBytes: size }) => sum + (isComplete ? size : 0), 0);
    for (const { file, path } of missing)
      left -= await download(file, path, {
        transport,
        maxBytes: left,
        onBytes: (count) => observer.bytes(count),
      });
    isComplete = true;
  } finally {
    observer.end(isComplete);
  }
}
