import { Command } from 'commander';
import type { PeerStatus } from '@parley/contracts';
import type { Cli } from '../cli.js';
import { connectCoordinator } from '../mesh/find-coordinator.js';
import { count, percent } from '../output/format.js';
import { renderTable } from '../output/text-table.js';
import { addJson, addState, fromCwd } from './common-options.js';
import type { CommonOptions } from './common-options.js';

interface PeersOptions extends CommonOptions {
  coordinator?: string;
}

/** `parley peers`. */
export function peersCommand(cli: Cli): Command {
  const command = new Command('peers')
    .summary('list the peers of a mesh')
    .description(
      'Lists the peers that have announced themselves to a mesh, and what they say of themselves now.',
    )
    .option('--coordinator <address>', 'host:port of the coordinator; the mesh that is up here unless given');
  addState(addJson(command, 'the list'));
  return command.action(async (options: PeersOptions) => peers(cli, options));
}

async function peers(cli: Cli, { json, state, coordinator }: PeersOptions): Promise<void> {
  using client = await connectCoordinator({
    state: fromCwd(cli, state),
    env: cli.env,
    ...(coordinator && { coordinator }),
  });
  const found = (await client.listPeers({}, { signal: cli.signal })).peers.map(ofStatus);
  if (json) cli.out(JSON.stringify({ peers: found }));
  else cli.out(found.length === 0 ? 'No peer has announced itself to this mesh yet.' : render(found));
}

function ofStatus({ announcement, available, description, runId }: PeerStatus) {
  return {
    name: announcement?.name ?? '',
    address: announcement?.address ?? '',
    available,
    runId,
    ...(description && {
      architecture: description.architecture,
      parameters: Number(description.parameters),
      trainingMethod: description.trainingMethod,
      contextTokens: description.contextTokens,
      device: description.device,
      version: Number(description.version),
      weightsSha256: description.weightsSha256,
      updatesApplied: Number(description.updatesApplied),
      activity: description.activity,
      utilization: description.utilization,
    }),
  };
}

function render(found: readonly ReturnType<typeof ofStatus>[]): string {
  return renderTable(
    [
      { heading: 'peer' },
      { heading: 'address' },
      { heading: 'architecture' },
      { heading: 'parameters', align: 'right' },
      { heading: 'trains' },
      { heading: 'device' },
      { heading: 'version', align: 'right' },
      { heading: 'now' },
      { heading: 'busy', align: 'right' },
      { heading: 'run' },
    ],
    found.map((peer) => [
      peer.name,
      peer.address,
      peer.architecture ?? '–',
      peer.parameters === undefined ? '–' : count(peer.parameters),
      peer.trainingMethod ?? '–',
      peer.device ?? '–',
      peer.version === undefined ? '–' : String(peer.version),
      peer.available ? (peer.activity ?? 'answers') : 'does not answer',
      percent(peer.utilization, 0),
      peer.runId,
    ]),
  );
}
