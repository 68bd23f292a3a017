import { Command } from 'commander';
import { join } from 'node:path';
import { RunState } from '@parley/contracts';
import type { Quantization } from '@parley/lm';
import { ParleyError } from '@parley/runtime';
import type { Cli } from '../cli.js';
import { fetchPeers } from '../input/fetch-peers.js';
import { localPeers } from '../input/local-peers.js';
import { parsePeerOptions } from '../input/peer-option.js';
import type { PeerOption } from '../input/peer-option.js';
import { readPrompts } from '../input/prompts-file.js';
import type { PromptLine } from '../input/prompts-file.js';
import { loadRecipe } from '../input/recipe-option.js';
import { demoPeers } from '../mesh/demo-peers.js';
import { coordinatorAddress, coordinatorClient } from '../mesh/find-coordinator.js';
import { startLocalMesh } from '../mesh/local-mesh.js';
import { stateFolder } from '../mesh/state-folder.js';
import { plural } from '../output/format.js';
import { statusLine } from '../output/status-line.js';
import { executeRun } from '../runs/execute-run.js';
import { stateName } from '../runs/follow-run.js';
import { createRunRecord, writeRunRecord } from '../runs/run-record.js';
import { writeRunQuestions } from '../runs/run-questions.js';
import { renderRunSummary } from '../runs/run-summary.js';
import { newRunId, submitRun } from '../runs/submit-run.js';
import type { RunRequest } from '../runs/submit-run.js';
import {
  addJson,
  addState,
  collect,
  durationOption,
  fromCwd,
  peerOption,
  quantizationOption,
  requireTrainable,
  seedOption,
} from './common-options.js';
import type { CommonOptions } from './common-options.js';

interface RunOptions extends CommonOptions {
  questions: string;
  peer?: string[];
  coordinator?: string;
  recipe: string;
  set?: string[];
  seed: bigint;
  title?: string;
  detach?: boolean;
  peerWait: number;
  train: string;
  device: string;
  quantization: Quantization;
}

/** `parley run`. */
export function runCommand(cli: Cli): Command {
  const command = new Command('run')
    .summary('train peers on your own questions')
    .description(
      'Lets peers answer your questions and train one another on what they converge on. No answers are needed. ' +
        'With a mesh that is up (here, or at --coordinator) its peers are trained. Otherwise a mesh is brought up for ' +
        'this run alone, with peers from folders, and stopped at its end.',
    )
    .requiredOption(
      '--questions <file>',
      'JSONL with {"question": …, "id"?: …}, or one question a line; - is standard input',
    )
    .addOption(
      peerOption(
        'NAME=FOLDER or NAME=hf://org/model[@revision] for a model to run here, NAME for a peer of the mesh (repeatable, in order of answering)',
      ),
    )
    .option('--coordinator <address>', 'host:port of the coordinator of a mesh that is up')
    .option('--recipe <recipe>', 'paper, trust, trust-pmi, or a JSON file of a recipe', 'paper')
    .option(
      '--set <field=value>',
      'change a field of the recipe, such as training.learningRate=1e-4 (repeatable)',
      collect,
    )
    .addOption(seedOption('seed of everything random in the run', 0n))
    .option('--title <text>', 'a title for people')
    .addOption(
      durationOption('--peer-wait <duration>', 'how long to wait for peers that do not answer yet', '10m'),
    )
    .option('--detach', 'do not wait for the end; needs a mesh that is up')
    .option(
      '--train <method>',
      'which weights train: full, or lora:<rank>[:<alpha>] (for a mesh of this run alone)',
      'full',
    )
    .option(
      '--device <device>',
      'where models run: cpu, webgpu, cuda or auto (for a mesh of this run alone)',
      'cpu',
    )
    .addOption(quantizationOption(' (for a mesh of this run alone)'));
  addState(addJson(command, "the run's record"));
  return command.action(async (options: RunOptions) => run(cli, options));
}

async function run(cli: Cli, options: RunOptions): Promise<void> {
  requireTrainable(options);
  const prompts = await readPrompts(options.questions, cli.stdin);
  const peers = parsePeerOptions(options.peer, cli.cwd);
  const address = await meshAddress(cli, options, peers);
  if (address !== undefined) return runInMesh(cli, options, peers, prompts, address);
  if (options.detach) {
    throw new ParleyError(
      'CONFIG_INVALID',
      '--detach needs a mesh that goes on without this command: start one with `parley up`',
    );
  }
  return runAlone(cli, options, peers, prompts);
}

/** The coordinator to use, or undefined if this run brings up a mesh of its own. */
async function meshAddress(
  cli: Cli,
  options: RunOptions,
  peers: readonly PeerOption[],
): Promise<string | undefined> {
  const folder = peers.find(({ kind }) => kind !== 'name');
  if (!folder) {
    const { coordinator } = options;
    return coordinatorAddress({
      state: fromCwd(cli, options.state),
      env: cli.env,
      ...(coordinator && { coordinator }),
    });
  }
  if (!options.coordinator) return undefined;
  throw new ParleyError(
    'CONFIG_INVALID',
    `--coordinator and --peer ${folder.name}=… contradict each other: the peers of a mesh that is up are given by ` +
      'name alone',
  );
}

/** Runs in a mesh that is up. Interrupted, the run goes on there. */
async function runInMesh(
  cli: Cli,
  options: RunOptions,
  peers: readonly PeerOption[],
  prompts: readonly PromptLine[],
  address: string,
): Promise<void> {
  using coordinator = coordinatorClient(address, cli.env);
  const names =
    peers.length > 0 ? peers.map(({ name }) => name) : await announcedPeers(coordinator, cli.signal);
  const request = await createRequest(cli, options, names, prompts);
  if (options.detach) {
    await submitRun(coordinator, request, cli.signal);
    cli.terminal.line(`Started; follow it with \`parley watch ${request.runId}\``);
    cli.out(options.json ? JSON.stringify({ runId: request.runId }) : request.runId);
    return;
  }
  cli.terminal.line(
    `Run ${request.runId}; if this command is interrupted it goes on, and \`parley watch\` shows it`,
  );
  await execute(cli, options, request, address);
}

/** Runs in a mesh of its own, whose state stays in the run's folder. */
async function runAlone(
  cli: Cli,
  options: RunOptions,
  peerOptions: readonly PeerOption[],
  prompts: readonly PromptLine[],
): Promise<void> {
  const peers = peerOptions.length > 0 ? localPeers(await fetchPeers(cli, peerOptions)) : demoPeers();
  const request = await createRequest(
    cli,
    options,
    peers.map(({ name }) => name),
    prompts,
  );
  const state = join(stateFolder(fromCwd(cli, options.state)).run(request.runId), 'mesh');
  cli.terminal.line(
    `Run ${request.runId}: bringing up a mesh of ${plural(peers.length, 'peer')} in ${state}`,
  );
  await using mesh = await startLocalMesh({
    state,
    peers,
    withRuns: true,
    tuning: { train: options.train, device: options.device, quantization: options.quantization },
    env: cli.env,
    signal: cli.signal,
    onStatus: (status) => {
      const line = statusLine(status);
      if (line !== undefined) cli.terminal.line(line);
    },
    onNotice: (text) => cli.terminal.line(text),
  });
  await execute(cli, options, request, `http://${mesh.coordinator}`);
  cli.terminal.line(`The weights of every version are under ${join(state, 'peers')}`);
}

async function createRequest(
  cli: Cli,
  options: RunOptions,
  peers: readonly string[],
  prompts: readonly PromptLine[],
): Promise<RunRequest> {
  const { recipe: source, set, seed, title } = options;
  const recipe = await loadRecipe({ recipe: source, set, peers: peers.length, cwd: cli.cwd });
  return { runId: newRunId('run', cli.now(), cli.random), title: title ?? '', peers, recipe, seed, prompts };
}

async function announcedPeers(
  coordinator: ReturnType<typeof coordinatorClient>,
  signal: AbortSignal,
): Promise<string[]> {
  const { peers } = await coordinator.listPeers({}, { signal });
  return peers.map(({ announcement }) => announcement?.name ?? '');
}

async function execute(cli: Cli, options: RunOptions, request: RunRequest, address: string): Promise<void> {
  using coordinator = coordinatorClient(address, cli.env);
  const executed = await executeRun(cli, coordinator, request, { peerWaitMs: options.peerWait });
  const record = createRunRecord({ ...executed, recipe: request.recipe, prompts: request.prompts });
  const folder = stateFolder(fromCwd(cli, options.state)).run(request.runId);
  await writeRunQuestions(folder, request.prompts);
  const path = await writeRunRecord(folder, record);
  cli.out(options.json ? JSON.stringify(record) : renderRunSummary(record));
  cli.terminal.line(`The record of the run is ${path}`);
  const { state, stateReason } = executed.run;
  if (state === RunState.COMPLETED) return;
  const reason = stateReason === '' ? '' : `: ${stateReason}`;
  throw new ParleyError('RUN_STATE_CONFLICT', `Run ${request.runId} ${stateName(state)}${reason}`);
}
