import { mkdir, readFile, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { ParleyError, systemCode, writeFileAtomic } from '@parley/runtime';

/** Where everything of a mesh on this machine lies. */
export interface StateFolder {
  readonly root: string;
  log(service: string): string;
  /** Folder of nats-server. */
  readonly nats: string;
  /** Folder of a peer's weights, optimiser state and ledger. */
  peer(name: string): string;
  /** Folder of a run's record. */
  run(runId: string): string;
  /** Who runs the mesh and where it answers; absent while none is up. */
  readonly meshFile: string;
}

/** What `mesh.json` says: written when a mesh is up, removed when it is down. */
export interface MeshFile {
  /** The supervisor's process. */
  pid: number;
  startTime: string;
  /** The addresses are absent while the mesh is coming up. */
  nats?: string;
  coordinator?: string;
  pmi?: string;
  peers: Record<string, string>;
}

/** The layout of a state folder; nothing is created. */
export function stateFolder(root: string): StateFolder {
  const base = resolve(root);
  return {
    root: base,
    log: (service) => join(base, 'logs', `${service}.log`),
    nats: join(base, 'nats'),
    peer: (name) => join(base, 'peers', name),
    run: (runId) => join(base, 'runs', runId),
    meshFile: join(base, 'mesh.json'),
  };
}

/** Writes `mesh.json`. */
export async function writeMeshFile(folder: StateFolder, mesh: MeshFile): Promise<void> {
  await writeFileAtomic(folder.meshFile, `${JSON.stringify(mesh, null, 2)}\n`);
}

/** Removes `mesh.json`; it may be gone already. */
export async function removeMeshFile(folder: StateFolder): Promise<void> {
  await rm(folder.meshFile, { force: true });
}

/** The mesh that is up in a state folder, or undefined. A file whose process is gone counts as none. */
export async function readMeshFile(folder: StateFolder): Promise<MeshFile | undefined> {
  try {
    const mesh = JSON.parse(await readFile(folder.meshFile, 'utf8')) as MeshFile;
    return isAlive(mesh.pid) ? mesh : undefined;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    if (error instanceof SyntaxError) {
      throw new ParleyError('STATE_CORRUPT', `${folder.meshFile} is not JSON; remove it if no mesh is up`, {
        cause: error,
      });
    }
    throw error;
  }
}

/**
 * Creates the folder and takes it for this process, until {@link removeMeshFile}.
 *
 * @throws ParleyError CONFIG_INVALID if a mesh is up in it, or if it cannot be created
 */
export async function claimStateFolder(folder: StateFolder): Promise<void> {
  try {
    await mkdir(folder.root, { recursive: true });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ParleyError('CONFIG_INVALID', `Cannot use ${folder.root} as the state folder: ${why}`, {
      cause: error,
    });
  }
  const mesh = await readMeshFile(folder);
  if (!mesh)
    return writeMeshFile(folder, { pid: process.pid, startTime: new Date().toISOString(), peers: {} });
  throw new ParleyError(
    'CONFIG_INVALID',
    `A mesh is up already in ${folder.root} (process ${mesh.pid}); stop it with Ctrl-C there, use it with ` +
      `\`parley run\`, or choose another folder with --state. If that process is something else, remove ${folder.meshFile}`,
  );
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return systemCode(error) === 'EPERM';
  }
}
