import type { BlobStore, Bus } from '@parley/bus';
import type { CoordinatorService, PeerService } from '@parley/contracts';
import { isParleyError } from '@parley/runtime';
import type { Client } from '@parley/runtime';

/** A mesh that a test drives and looks into, however it runs. */
export interface RunningMesh extends AsyncDisposable {
  /** Every service by name: `nats`, `coordinator`, `pmi`, and the peers. */
  readonly services: readonly string[];
  /** Names of the peers in their order of answering. */
  readonly peers: readonly string[];
  readonly bus: Bus;
  readonly blobs: BlobStore;
  readonly coordinator: Client<typeof CoordinatorService>;
  peer(name: string): Client<typeof PeerService>;
  /** Resolves once everything serves. */
  untilUp(): Promise<void>;
  /** The last lines of every log. */
  logs(): Promise<string>;
}

/** Runs a part of a test; if it fails, the error ends with the logs of the mesh. */
export async function withLogs<T>(mesh: RunningMesh, part: () => Promise<T>): Promise<T> {
  try {
    return await part();
  } catch (error) {
    if (error instanceof Error) error.message += `\n\n${await mesh.logs()}`;
    throw error;
  }
}

/** Whether a call failed because the service was away for a moment. */
export function isAway(error: unknown): boolean {
  return isParleyError(error, 'SERVICE_UNAVAILABLE', 'DEADLINE_EXCEEDED', 'BUS_UNAVAILABLE', 'SHUTTING_DOWN');
}
