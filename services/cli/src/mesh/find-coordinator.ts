import { CoordinatorService } from '@parley/contracts';
import { ParleyError, createClient } from '@parley/runtime';
import type { Client } from '@parley/runtime';
import { readMeshFile, stateFolder } from './state-folder.js';

/** Where a command looks for a mesh that is up. */
export interface CoordinatorOptions {
  /** host:port that the user gave. */
  coordinator?: string;
  /** State folder whose mesh is meant otherwise. */
  state: string;
  env: Readonly<Record<string, string | undefined>>;
}

const CALL_DEADLINE_MS = 30_000;

/** The address of the mesh's coordinator: as given, `PARLEY_COORDINATOR`, or of the mesh that is up here; else undefined. */
export async function coordinatorAddress({
  coordinator,
  state,
  env,
}: CoordinatorOptions): Promise<string | undefined> {
  const given = coordinator ?? env['PARLEY_COORDINATOR'];
  return given || (await readMeshFile(stateFolder(state)))?.coordinator;
}

/** A client of the mesh's coordinator. @throws ParleyError SERVICE_UNAVAILABLE if there is no mesh to speak of */
export async function connectCoordinator(
  options: CoordinatorOptions,
): Promise<Client<typeof CoordinatorService>> {
  const address = await coordinatorAddress(options);
  if (address) return coordinatorClient(address);
  throw new ParleyError(
    'SERVICE_UNAVAILABLE',
    `No mesh is up in ${stateFolder(options.state).root}: start one with \`parley up\`, name its folder with --state, ` +
      'or give the address of a coordinator with --coordinator',
  );
}

/** A client of a coordinator. */
export function coordinatorClient(address: string): Client<typeof CoordinatorService> {
  return createClient(CoordinatorService, address, {
    deadlineMs: CALL_DEADLINE_MS,
    label: 'the coordinator',
  });
}
