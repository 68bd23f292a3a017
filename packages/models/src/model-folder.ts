import { rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ParleyError, sha256, syncFolder } from '@parley/runtime';
import { checkpointDigest } from './checkpoint-digest.js';
import { downloadedBytes } from './download.js';
import { fetchFiles } from './fetch-files.js';
import type { FetchContext, WantedFile } from './fetch-files.js';
import { fileSize } from './file-size.js';
import { makeFolder } from './lock-file.js';
import type { RemoteFile, RemoteModel } from './remote-model.js';

/**
 * Brings a model to a folder of its own. The folder appears at once, complete and with the digest that was asked for, or not
 * at all; what was fetched until an interruption is gone on with.
 *
 * @throws ParleyError DIGEST_MISMATCH, after which nothing is left of it; as {@link fetchFiles}
 */
export async function fillFolder(
  target: string,
  model: RemoteModel,
  wantedSha256: string | undefined,
  context: Omit<FetchContext, 'folder' | 'label'>,
): Promise<void> {
  const partial = await partialFolder(target, model.label);
  const wanted = await Promise.all(model.files.map((file) => wantedFile(partial, file)));
  await fetchFiles(wanted, { ...context, label: model.label, folder: partial });
  try {
    await requireDigest(partial, wantedSha256);
  } catch (error) {
    // Going on with it would end the same way.
    await rm(partial, { recursive: true, force: true });
    throw error;
  }
  await syncFolder(partial);
  await rename(partial, target);
  await syncFolder(dirname(target));
}

/** Of this source: what came of another must never be gone on with. */
async function partialFolder(target: string, label: string): Promise<string> {
  const folder = join(dirname(target), `${basename(target)}.${sha256(label).slice(0, 8)}.partial`);
  await makeFolder(folder);
  return folder;
}

async function wantedFile(folder: string, file: RemoteFile): Promise<WantedFile> {
  const path = join(folder, file.name);
  const present = await fileSize(path);
  const isComplete = present !== undefined && (file.size === undefined || present === file.size);
  return { file, path, presentBytes: isComplete ? present : await downloadedBytes(path), isComplete };
}

/** @throws ParleyError DIGEST_MISMATCH naming both, for a folder that is not the wanted model */
export async function requireDigest(folder: string, wanted: string | undefined): Promise<void> {
  if (wanted === undefined) return;
  const found = await checkpointDigest(folder);
  if (found === wanted) return;
  throw new ParleyError(
    'DIGEST_MISMATCH',
    `The model in ${folder} has the digest ${found}, but PARLEY_MODEL_SHA256 is ${wanted}; it is another model or damaged`,
    { details: { folder, found, wanted } },
  );
}
