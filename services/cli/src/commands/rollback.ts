import { Command } from 'commander';
import { RunState } from '@parley/contracts';
import { ParleyError } from '@parley/runtime';
import type { Cli } from '../cli.js';
import { connectPeers } from '../measure/peer-clients.js';
import { peerCredentials } from '../mesh/access.js';
import { connectCoordinator } from '../mesh/find-coordinator.js';
import { findPeers, peerNamed } from '../mesh/find-peers.js';
import type { FoundPeer } from '../mesh/find-peers.js';
import { openBus } from '../mesh/open-bus.js';
import { rollBackPeer } from '../rollback/roll-back-peer.js';
import type { PeerVersion, Rollback } from '../rollback/roll-back-peer.js';
import { newRunId } from '../runs/submit-run.js';
import { addJson, addState, fromCwd, wholeNumber } from './common-options.js';
import type { CommonOptions } from './common-options.js';

interface RollbackOptions extends CommonOptions {
  to?: number;
  lastGood?: boolean;
  reason: string;
  force?: boolean;
  peerAddress?: string;
  coordinator?: string;
}

/** `parley rollback`. */
export function rollbackCommand(cli: Cli): Command {
  const command = new Command('rollback')
    .summary('give a peer the weights of an earlier version')
    .description(
      'Makes a new version of a peer with the weights of an earlier one, optimiser state cleared; nothing is removed, so ' +
        'that it can be undone the same way. A peer that learns in a run that goes on is left alone without --force.',
    )
    .argument('<peer>', 'name of the peer')
    .option('--to <version>', 'the version whose weights come back', wholeNumber(0))
    .option(
      '--last-good',
      'the newest version that a monitor pool measured and no guard spoke of (read from NATS)',
    )
    .option('--reason <text>', 'why, for the record', 'asked for by an operator')
    .option('--force', 'also while a run trains the peer; the run goes on with the restored weights')
    .option('--peer-address <address>', "host:port of the peer; the mesh's own list unless given")
    .option('--coordinator <address>', 'host:port of the coordinator; the mesh that is up here unless given');
  addState(addJson(command, 'what was done'));
  return command.action(async (peer: string, options: RollbackOptions) => rollback(cli, peer, options));
}

async function rollback(cli: Cli, name: string, options: RollbackOptions): Promise<void> {
  const { to, lastGood = false, reason, force = false, json } = options;
  if ((to === undefined) !== lastGood) {
    throw new ParleyError('CONFIG_INVALID', 'Say where to: --to VERSION or --last-good, one of them');
  }
  const state = fromCwd(cli, options.state);
  const peer = await find(cli, name, options);
  using clients = connectPeers([[peer.name, peer.address, peer.credentials]]);
  await using bus = await openBus({ state, env: cli.env, identity: { role: 'operator' } });
  const done = await rollBackPeer({
    peer: name,
    client: clients.peers[0].client,
    version: to === undefined ? undefined : BigInt(to),
    requestId: newRunId(`rollback-${name}`, cli.now(), cli.random),
    reason,
    bus,
    force,
    signal: cli.signal,
  });
  cli.out(json ? JSON.stringify(toJson(done)) : render(done));
}

/** The peer, unless a run that goes on trains it. */
async function find(cli: Cli, name: string, options: RollbackOptions): Promise<FoundPeer> {
  const { peerAddress, coordinator, force } = options;
  if (peerAddress !== undefined)
    return { name, address: peerAddress, credentials: peerCredentials(cli.env), runId: '' };
  const state = fromCwd(cli, options.state);
  const { env, signal } = cli;
  using client = await connectCoordinator({ state, env, ...(coordinator && { coordinator }) });
  const peer = peerNamed(await findPeers(client, { state, env, signal }), name);
  if (peer.runId === '' || force) return peer;
  const { run } = await client.getRun({ runId: peer.runId }, { signal });
  if (run?.state !== RunState.RUNNING) return peer;
  throw new ParleyError(
    'PEER_BUSY',
    `Peer ${name} learns in run ${peer.runId}, which goes on; pause or stop the run, or say --force`,
    { details: { peer: name, run: peer.runId } },
  );
}

function toJson({ peer, from, to, restored }: Rollback) {
  const plain = ({ version, weightsSha256 }: PeerVersion) => ({ version: Number(version), weightsSha256 });
  return { peer, from: plain(from), to: plain(to), restored: Number(restored) };
}

function render({ peer, from, to, restored }: Rollback): string {
  return (
    `${peer}: version ${from.version} → ${to.version}, with the weights of version ${restored}\n` +
    `SHA-256 ${from.weightsSha256} → ${to.weightsSha256}`
  );
}
