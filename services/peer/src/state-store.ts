import { access, readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readSafetensors } from '@parley/lm';
import type { ModelState } from '@parley/lm';
import { ParleyError, isParleyError, systemCode, writeFileAtomic } from '@parley/runtime';
import { digestAsync } from './digest-async.js';
import { decodeHead, encodeHead } from './head-file.js';
import type { Head, HeadWithState } from './head-file.js';
import { createLedger } from './ledger.js';

/** Whose state it is; a head that disagrees is refused rather than trained on. */
export interface StateIdentity {
  /** Name of the peer in the mesh. */
  readonly peer: string;
  readonly baseSha256: string;
  readonly method: string;
}

/** How {@link openStateStore} opens a state folder. */
export interface StateStoreOptions {
  folder: string;
  identity: StateIdentity;
  /** Version files kept, the current one included; version 0 is always kept beside them. */
  keepVersions: number;
  /** The untrained state, asked for when the folder is new. */
  initialState: () => Promise<ModelState>;
}

/** A peer's state on disk. One owner at a time; calls must not overlap. */
export interface StateStore {
  /** What is committed. */
  readonly head: Head;
  /**
   * Makes `head` with `state` the committed one: its version file, then the head, each written aside, synced and renamed.
   *
   * @throws ParleyError DISK_FULL, or what the file system gives; what was committed before is intact on disk. Call
   *   {@link reload} then, for in the rarest case (the sync of the folder failed) the new head is in place after all.
   */
  commit(head: Head, state: ModelState): Promise<void>;
  /** Reads the committed head again and returns its state. @throws ParleyError STATE_CORRUPT */
  reload(): Promise<ModelState>;
  /** Weights of a version that is still kept; `undefined` if it is not. */
  readVersion(version: number): Promise<Uint8Array | undefined>;
}

/**
 * Opens the state folder of a peer: `head.safetensors`, which alone decides what the peer is, and
 * `versions/<n>.safetensors`, trainable weights for restoring and snapshots. A new folder gets version 0.
 *
 * @throws ParleyError STATE_CORRUPT if the head cannot be read back, or is gone while later versions are there;
 *   CONFIG_INVALID if it is of another peer, checkpoint or training method; DISK_FULL. Each names the file and the remedy.
 */
export async function openStateStore(options: StateStoreOptions): Promise<StateStore> {
  const { folder, identity, keepVersions } = options;
  const headPath = join(folder, 'head.safetensors');
  const versionsFolder = join(folder, 'versions');
  const versionPath = (version: number) => join(versionsFolder, `${version}.safetensors`);

  const load = async (): Promise<HeadWithState> => {
    const found = await readHead(headPath);
    checkIdentity(found.head, identity, headPath);
    return found;
  };
  /** Removes versions that are no longer kept, and those whose head was never put in place. */
  const prune = async (current: number) => {
    const kept = (version: number) =>
      version === 0 || (version > current - keepVersions && version <= current);
    const stale = (await listVersions(versionsFolder)).filter((version) => !kept(version));
    await Promise.all(stale.map((version) => rm(versionPath(version), { force: true })));
  };
  const write = async (next: Head, state: ModelState) => {
    const content = encodeHead({ head: next, state }, await digestAsync(state.optimizer));
    try {
      await writeFileAtomic(versionPath(next.version), state.weights);
      await writeFileAtomic(headPath, content);
    } catch (error) {
      throw withRemedy(error, headPath, content.byteLength);
    }
    await prune(next.version);
    return next;
  };
  const begin = async () => {
    await refuseLostHead(versionsFolder, headPath);
    const state = await options.initialState();
    const weightsSha256 = await digestAsync(state.weights);
    const ledger = createLedger(identity.peer);
    return write({ ...identity, version: 0, weightsSha256, ledger, lastCommitted: undefined }, state);
  };

  await Promise.all([folder, versionsFolder].map(removeLeftovers));
  let head = (await exists(headPath)) ? (await load()).head : await begin();
  await prune(head.version);
  return {
    get head() {
      return head;
    },
    async commit(next, state) {
      refuseForeignHead(headPath, head);
      head = await write(next, state);
    },
    async reload() {
      const { head: found, state } = await load();
      head = found;
      await prune(head.version);
      return state;
    },
    async readVersion(version) {
      return version === head.version
        ? (await load()).state.weights
        : ifThere(readFile(versionPath(version)));
    },
  };
}

async function readHead(path: string): Promise<HeadWithState> {
  try {
    return await decodeHead(await readFile(path), digestAsync);
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    throw new ParleyError(
      'STATE_CORRUPT',
      `${path} cannot be read back: ${problem}. Put a copy of the file there, or move the whole state folder away: the ` +
        'peer then starts again from its checkpoint, and a kept versions file can be given back to it with Restore',
      { details: { path }, cause: error },
    );
  }
}

/** A second process on the same folder would have its commits overwritten without a word. */
function refuseForeignHead(path: string, { version, weightsSha256 }: Head): void {
  using reader = readSafetensors(path);
  const { version: found, weights_sha256: digest } = reader.metadata;
  if (found === String(version) && digest === weightsSha256) return;
  throw new ParleyError(
    'STATE_CORRUPT',
    `${path} is at version ${found}, but this process left it at version ${version}: another process writes there. Stop one ` +
      'of them; a state folder has one peer',
    { details: { path, found: String(found), committed: String(version) } },
  );
}

/** Starting again at version 0 beside later versions would publish their numbers a second time. */
async function refuseLostHead(versionsFolder: string, headPath: string): Promise<void> {
  const latest = Math.max(0, ...(await listVersions(versionsFolder)));
  if (latest === 0) return;
  throw new ParleyError(
    'STATE_CORRUPT',
    `${headPath} is missing, but ${versionsFolder} holds version ${latest}. Put the file back, or move the whole state ` +
      'folder away to start again from the checkpoint',
    { details: { path: headPath, version: String(latest) } },
  );
}

function checkIdentity(found: Head, wanted: StateIdentity, path: string): void {
  const differences = [
    ['the peer', 'PARLEY_PEER_NAME', found.peer, wanted.peer],
    ['the checkpoint with SHA-256', 'PARLEY_MODEL', found.baseSha256, wanted.baseSha256],
    ['the training method', 'PARLEY_TRAIN', found.method, wanted.method],
  ].filter(([, , was, is]) => was !== is);
  if (differences.length === 0) return;
  const list = differences.map(([what, setting, was, is]) => `${what} ${was}, but ${setting} gives ${is}`);
  throw new ParleyError(
    'CONFIG_INVALID',
    `${path} was made with ${list.join('; and with ')}. Set it as it was, or give PARLEY_STATE_DIR another folder`,
    { details: { path, ...Object.fromEntries(differences.map(([, setting, was]) => [setting, was])) } },
  );
}

async function listVersions(folder: string): Promise<number[]> {
  return (await list(folder)).flatMap((name) => /^(\d+)\.safetensors$/.exec(name)?.[1] ?? []).map(Number);
}

/** A process that is killed while it writes leaves its temporary file. */
async function removeLeftovers(folder: string): Promise<void> {
  const leftovers = (await list(folder)).filter((name) => /^\..+\.tmp$/.test(name));
  await Promise.all(leftovers.map((name) => rm(join(folder, name), { force: true })));
}

async function list(folder: string): Promise<string[]> {
  return (await ifThere(readdir(folder))) ?? [];
}

async function exists(path: string): Promise<boolean> {
  return (await ifThere(access(path).then(() => true))) ?? false;
}

async function ifThere<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** A limit on the size of files (`ulimit -f`, EFBIG) leaves as little room as a full disk does. */
function withRemedy(error: unknown, path: string, bytes: number): unknown {
  if (isParleyError(error) || systemCode(error) !== 'EFBIG') return error;
  return new ParleyError(
    'DISK_FULL',
    `No room to write ${path}: ${bytes} bytes are needed, but the process may not write files that large; raise its file ` +
      'size limit (ulimit -f) and try again (the earlier file is intact)',
    { details: { path, bytes: String(bytes) }, cause: error },
  );
}
