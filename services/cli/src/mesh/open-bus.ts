import { BUS_FIELDS, busOptions, connectBus } from '@parley/bus';
import type { Bus } from '@parley/bus';
import { createSilentLog, readConfig } from '@parley/runtime';
import type { Env, Identity } from '@parley/runtime';
import { readMeshFile, stateFolder } from './state-folder.js';

/** Which NATS is meant. */
export interface OpenBusOptions {
  /** State folder whose mesh is meant where the environment names no nats-server. */
  state: string;
  env: Env;
  identity: Identity;
}

/**
 * Connects to the NATS that `PARLEY_NATS_URL` and its kin name, else to that of the mesh that is up on this machine;
 * `undefined` if there is neither.
 *
 * @throws ParleyError CONFIG_INVALID, NATS_*
 */
export async function openBus({ state, env, identity }: OpenBusOptions): Promise<Bus | undefined> {
  const local = (await readMeshFile(stateFolder(state)))?.nats;
  if (!env['PARLEY_NATS_URL'] && local === undefined) return undefined;
  const config = readConfig(env['PARLEY_NATS_URL'] ? env : { PARLEY_NATS_URL: local }, BUS_FIELDS);
  // Making streams is what `parley topology` is for, whatever PARLEY_NATS_TOPOLOGY says to services.
  const makesTopology = identity.role === 'topology';
  return connectBus({ ...busOptions(config, identity, { log: createSilentLog() }), makesTopology });
}
