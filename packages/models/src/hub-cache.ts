import { mkdir, readFile, readdir, rename, rm, stat, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { ParleyError, syncFolder, systemCode, writeFileAtomic } from '@parley/runtime';
import { downloadedBytes } from './download.js';
import { fetchFiles } from './fetch-files.js';
import type { FetchContext, WantedFile } from './fetch-files.js';
import { fileSize } from './file-size.js';
import type { HubModel } from './hub.js';
import { makeFolder } from './lock-file.js';
import { missingFile } from './model-files.js';
import type { RemoteFile } from './remote-model.js';
import { digestOf } from './verify-digest.js';

/** A model in the cache. */
export interface Snapshot {
  /** Hugging Face model folder, of links to blobs. */
  folder: string;
  commit: string;
}

const COMMIT = /^[0-9a-f]{40}$/;

/**
 * Folder of a model in the cache that Hugging Face's own programs share: `blobs/<etag>` with the contents,
 * `snapshots/<commit>/<file>` with links to them, `refs/<revision>` with the commit that a branch or tag was.
 */
export function repoFolder(cache: string, repo: string): string {
  return join(cache, ['models', ...repo.split('/')].join('--'));
}

/** Where the lock for a model lies: beside those of Hugging Face's programs, which are of another kind. */
export function repoLock(cache: string, repo: string): string {
  return join(cache, '.locks', ['models', ...repo.split('/')].join('--'), 'parley.lock');
}

/** The model at a revision as the cache has it, if it has all that a peer needs; nothing is asked of a hub. */
export async function cachedSnapshot(
  cache: string,
  repo: string,
  revision: string,
): Promise<Snapshot | undefined> {
  const root = repoFolder(cache, repo);
  const commit = COMMIT.test(revision) ? revision : await readRef(join(root, 'refs', revision));
  if (commit === undefined) return undefined;
  const folder = join(root, 'snapshots', commit);
  return missingFile(await filesOf(folder)) === undefined ? { folder, commit } : undefined;
}

async function readRef(path: string): Promise<string | undefined> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR', 'EISDIR'].includes(systemCode(error) ?? '')) return '';
    throw error;
  });
  return COMMIT.test(text.trim()) ? text.trim() : undefined;
}

/** Names in a snapshot whose content is there. */
async function filesOf(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  });
  const sizes = await Promise.all(names.map((name) => fileSize(join(folder, name))));
  return names.filter((_, index) => sizes[index] !== undefined);
}

/**
 * Brings a model into the cache. Contents that are there already are looked at again: one with another digest than its name
 * is fetched anew. The revision names the commit once all of it is there, and not before.
 *
 * @throws ParleyError as {@link fetchFiles}
 */
export async function fillCache(
  cache: string,
  { repo, revision }: { repo: string; revision: string },
  model: HubModel,
  context: Omit<FetchContext, 'folder' | 'label'>,
): Promise<Snapshot> {
  const { label, commit, files } = model;
  const root = repoFolder(cache, repo);
  const [blobs, folder] = [join(root, 'blobs'), join(root, 'snapshots', commit)];
  await makeFolder(blobs);
  await makeFolder(folder);
  const wanted = await Promise.all(files.map((file) => wantedBlob(blobs, file, context)));
  await fetchFiles(wanted, { ...context, label, folder: blobs });
  await syncFolder(blobs);
  for (const { file, path } of wanted) await link(path, join(folder, file.name));
  if (revision !== commit) await writeFileAtomic(join(root, 'refs', revision), commit);
  return { folder, commit };
}

async function wantedBlob(
  blobs: string,
  file: RemoteFile,
  { observer }: Pick<FetchContext, 'observer'>,
): Promise<WantedFile> {
  const { digest, size } = file;
  if (digest === undefined) throw new ParleyError('REMOTE_FAILURE', `${file.url} has no digest`);
  const path = join(blobs, digest.hex);
  const present = await fileSize(path);
  if (present === undefined)
    return { file, path, presentBytes: await downloadedBytes(path), isComplete: false };
  if (present === size && (await digestOf(path, digest.algorithm)) === digest.hex)
    return { file, path, presentBytes: present, isComplete: true };
  observer.notice(`${path} (${file.name}) is damaged in the cache and is fetched again`);
  return { file, path, presentBytes: await downloadedBytes(path), isComplete: false };
}

/** A relative link, in place of what was there, so that the cache can be moved. */
async function link(blob: string, path: string): Promise<void> {
  const [target, temporary] = [relative(dirname(path), blob), `${path}.${process.pid}.link`];
  await mkdir(dirname(path), { recursive: true });
  await rm(temporary, { force: true });
  await symlink(target, temporary);
  await rename(temporary, path);
}

/** Whether a folder is there. */
export async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    (error: unknown) => {
      if (systemCode(error) === 'ENOENT') return false;
      throw error;
    },
  );
}
