import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { ParleyError } from '@parley/runtime';
import { requireComplete, selectModelFiles } from './model-files.js';
import type { RemoteFile, RemoteModel } from './remote-model.js';

/** A model on a volume, to be copied as others are fetched. @throws ParleyError CHECKPOINT_INVALID */
export async function listLocalFolder(folder: string): Promise<RemoteModel> {
  const names = await readdir(folder).catch((error: unknown) => {
    const message = `The model folder ${folder} cannot be read: ${(error as Error).message}`;
    throw new ParleyError('CHECKPOINT_INVALID', message, { details: { folder }, cause: error });
  });
  const selected = selectModelFiles(names);
  requireComplete(names, folder);
  return { label: folder, files: await Promise.all(selected.map((name) => localFile(folder, name))) };
}

async function localFile(folder: string, name: string): Promise<RemoteFile> {
  const path = join(folder, name);
  const { size, mtimeMs } = await stat(path);
  return {
    name,
    url: path,
    size,
    digest: undefined,
    etag: `"${size}-${mtimeMs}"`,
    async open({ from, signal }) {
      const stream = Readable.toWeb(createReadStream(path, { start: from, signal }));
      const headers = { 'content-range': `bytes ${from}-${size - 1}/${size}` };
      return new Response(stream, from > 0 ? { status: 206, headers } : {});
    },
  };
}
