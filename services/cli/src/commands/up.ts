import { Command } from 'commander';
import type { Quantization } from '@parley/lm';
import type { Cli } from '../cli.js';
import { parsePeerOptions } from '../input/peer-option.js';
import { fetchPeers } from '../input/fetch-peers.js';
import { localPeers } from '../input/local-peers.js';
import { demoPeers } from '../mesh/demo-peers.js';
import { startLocalMesh } from '../mesh/local-mesh.js';
import type { LocalMesh } from '../mesh/local-mesh.js';
import { plural } from '../output/format.js';
import { statusLine } from '../output/status-line.js';
import {
  addJson,
  addState,
  fromCwd,
  peerOption,
  quantizationOption,
  requireTrainable,
} from './common-options.js';
import type { CommonOptions } from './common-options.js';

interface UpOptions extends CommonOptions {
  peer?: string[];
  train: string;
  device: string;
  quantization: Quantization;
  stay?: boolean;
}

/** `parley up`. */
export function upCommand(cli: Cli): Command {
  const command = new Command('up')
    .summary('bring up a mesh on this machine and keep it up')
    .description(
      'Brings up nats-server, coordinator, pmi and peers on loopback, restarts whatever crashes, and stops all of ' +
        'it in order on Ctrl-C. Peers keep what they have learnt in the state folder: the next `up` goes on there.',
    )
    .addOption(
      peerOption(
        'a peer as NAME=FOLDER or NAME=hf://org/model[@revision]; the three demo peers unless given (repeatable)',
      ),
    )
    .option('--train <method>', 'which weights train: full, or lora:<rank>[:<alpha>]', 'full')
    .option('--device <device>', 'where models run: cpu, webgpu, cuda or auto', 'cpu')
    .addOption(quantizationOption(''))
    .option('--stay', 'stay up when the shell or program that started it is gone');
  addState(addJson(command, 'the addresses, once all services are ready,'));
  return command.action(async (options: UpOptions) => up(cli, options));
}

async function up(cli: Cli, options: UpOptions): Promise<void> {
  const { peer, train, device, quantization, state, json, stay } = options;
  requireTrainable(options);
  if (stay) cli.outliveParent();
  const peers = peer ? localPeers(await fetchPeers(cli, parsePeerOptions(peer, cli.cwd))) : demoPeers();
  const folder = fromCwd(cli, state);
  cli.terminal.line(`Bringing up a mesh of ${plural(peers.length, 'peer')}; its state is in ${folder}`);
  await using mesh = await startLocalMesh({
    state: folder,
    peers,
    withRuns: true,
    tuning: { train, device, quantization },
    env: cli.env,
    signal: cli.signal,
    onStatus: (status) => {
      const line = statusLine(status);
      if (line !== undefined) cli.terminal.line(line);
    },
    onNotice: (text) => cli.terminal.line(text),
  });
  cli.out(json ? JSON.stringify(addresses(mesh)) : describe(mesh));
  await new Promise<void>((resolve) => {
    if (cli.signal.aborted) resolve();
    else cli.signal.addEventListener('abort', () => resolve(), { once: true });
  });
  cli.terminal.line('Stopping the mesh');
}

function addresses({ coordinator, pmi, natsUrl, peers, state }: LocalMesh) {
  return { state: state.root, nats: natsUrl, coordinator, pmi, peers: Object.fromEntries(peers) };
}

function describe({ coordinator, natsUrl, peers }: LocalMesh): string {
  const lines = [...peers].map(([name, address]) => `  peer ${name.padEnd(12)} ${address}`);
  return [
    'The mesh is up:',
    `  coordinator       ${coordinator}`,
    ...lines,
    `  nats              ${natsUrl}`,
    'Give it questions with `parley run --questions FILE`; Ctrl-C stops it.',
  ].join('\n');
}
