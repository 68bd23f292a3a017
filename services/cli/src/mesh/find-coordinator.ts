import { CoordinatorService } from '@parley/contracts';
import { ParleyError, createClient } from '@parley/runtime';
import type { Client, Env } from '@parley/runtime';
import { coordinatorAccess } from './access.js';
import { readMeshFile, stateFolder } from './state-folder.js';

/** Where a command looks for a mesh that is up. */
export interface CoordinatorOptions {
  /** Address that the user gave. */
  coordinator?: string;
  /** State folder whose mesh is meant otherwise. */
  state: string;
  env: Readonly<Record<string, string | undefined>>;
}

const CALL_DEADLINE_MS = 60_000;
/** Whoever names a wrong address should not wait for long. */
const FIRST_ANSWER_MS = 3000;

/** The address of the mesh's coordinator: as given, `PARLEY_COORDINATOR`, or of the mesh that is up here; else undefined. */
export async function coordinatorAddress({
  coordinator,
  state,
  env,
}: CoordinatorOptions): Promise<string | undefined> {
  const given = coordinator ?? env['PARLEY_COORDINATOR'];
  if (given) return given;
  const local = (await readMeshFile(stateFolder(state)))?.coordinator;
  // On this machine it speaks plain text, whatever the environment says of meshes elsewhere.
  return local && `http://${local}`;
}

/** A client of the mesh's coordinator. @throws ParleyError SERVICE_UNAVAILABLE if there is no mesh to speak of */
export async function connectCoordinator(
  options: CoordinatorOptions,
): Promise<Client<typeof CoordinatorService>> {
  const address = await coordinatorAddress(options);
  if (address) return coordinatorClient(address, options.env);
  throw new ParleyError(
    'SERVICE_UNAVAILABLE',
    `No mesh is up in ${stateFolder(options.state).root}: start one with \`parley up\`, name its folder with --state, ` +
      'or give the address of a coordinator with --coordinator',
  );
}

/**
 * A client of a coordinator, which bears that it is replaced meanwhile.
 *
 * @param text - its address, as {@link coordinatorAccess} takes it
 */
export function coordinatorClient(text: string, env: Env): Client<typeof CoordinatorService> {
  const { address, ...access } = coordinatorAccess(text, env);
  return createClient(CoordinatorService, address, {
    deadlineMs: CALL_DEADLINE_MS,
    label: 'the coordinator',
    retryWhileAway: { firstMs: FIRST_ANSWER_MS },
    ...access,
  });
}
