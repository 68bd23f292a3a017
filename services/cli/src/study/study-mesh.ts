import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CoordinatorService } from '@parley/contracts';
import type { Client } from '@parley/runtime';
import type { Cli } from '../cli.js';
import { connectPeers } from '../measure/peer-clients.js';
import type { ConnectedPeer } from '../measure/peer-clients.js';
import { coordinatorClient } from '../mesh/find-coordinator.js';
import { startLocalMesh } from '../mesh/local-mesh.js';
import type { LocalPeer } from '../mesh/mesh-services.js';
import { statusLine } from '../output/status-line.js';

/** In a study's folder: state and logs of the mesh that is up or, after a failure, was. */
export const MESH_FOLDER = 'mesh';

/** A mesh in which cells run one after another. */
export interface StudyMesh extends AsyncDisposable {
  readonly coordinator: Client<typeof CoordinatorService>;
  readonly peers: readonly ConnectedPeer[];
  /** Takes every peer back to the weights it was loaded with. */
  untrain(requestId: string): Promise<void>;
  /** SHA-256 of each peer's weights. */
  weights(): Promise<string[]>;
}

/** Brings up a mesh from nothing, in place of what an earlier one left in the folder. What is left of it are its logs and state. */
export async function startStudyMesh(
  cli: Cli,
  folder: string,
  localPeers: readonly LocalPeer[],
  train: string,
): Promise<StudyMesh> {
  const { terminal, signal, env } = cli;
  const state = join(folder, MESH_FOLDER);
  await rm(state, { recursive: true, force: true });
  const mesh = await startLocalMesh({
    state,
    peers: localPeers,
    withRuns: true,
    tuning: { train },
    env,
    signal,
    onStatus: (status) => {
      const line = statusLine(status);
      if (line !== undefined) terminal.line(line);
    },
    onNotice: (text) => terminal.line(text),
  });
  const clients = connectPeers(mesh.peers);
  const coordinator = coordinatorClient(`http://${mesh.coordinator ?? ''}`, {});
  return {
    coordinator,
    peers: clients.peers,
    async untrain(requestId) {
      const source = { case: 'version', value: 0n } as const;
      const reason = 'the next cell of a study';
      await Promise.all(
        clients.peers.map(({ client }) =>
          client.restore({ requestId, source, reason }, { deadlineMs: 60_000, signal }),
        ),
      );
    },
    weights: async () => (await clients.describe(signal)).map(({ weightsSha256 }) => weightsSha256),
    async [Symbol.asyncDispose]() {
      coordinator[Symbol.dispose]();
      clients[Symbol.dispose]();
      await mesh[Symbol.asyncDispose]();
    },
  };
}
