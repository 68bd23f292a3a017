import { Command, InvalidArgumentError, Option } from 'commander';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DEFAULT_ANSWERS } from '@parley/evaluation';
import type { AnswerForm } from '@parley/evaluation';
import type { Quantization } from '@parley/lm';
import { ParleyError } from '@parley/runtime';
import type { Cli } from '../cli.js';
import { parsePeerOptions } from '../input/peer-option.js';
import { fetchPeers } from '../input/fetch-peers.js';
import type { PeerOption } from '../input/peer-option.js';
import { readLabelledQuestions } from '../input/prompts-file.js';
import { evaluationResult, renderEvaluation } from '../measure/evaluation-report.js';
import { failureLine, measureWithProgress } from '../measure/measure-with-progress.js';
import { connectPeers } from '../measure/peer-clients.js';
import { peerCredentials } from '../mesh/access.js';
import { startLocalMesh } from '../mesh/local-mesh.js';
import type { LocalMesh } from '../mesh/local-mesh.js';
import { readMeshFile, stateFolder } from '../mesh/state-folder.js';
import { statusLine } from '../output/status-line.js';
import { newRunId } from '../runs/submit-run.js';
import {
  addJson,
  addState,
  fromCwd,
  peerOption,
  quantizationOption,
  seedOption,
  wholeNumber,
} from './common-options.js';
import type { CommonOptions } from './common-options.js';

interface EvalOptions extends CommonOptions {
  questions: string;
  peer: string[];
  samples: number;
  temperature: number;
  maxTokens: number;
  seed: bigint;
  answers?: AnswerForm[];
  deadline: number;
  device: string;
  quantization: Quantization;
}

/** `parley eval`. */
export function evalCommand(cli: Cli): Command {
  const command = new Command('eval')
    .summary('measure peers on questions with known answers')
    .description(
      'Asks every peer every question, each alone, and grades the final answers: greedy accuracy with its 95 % ' +
        'interval, sampled accuracy, pass@k, majority of the samples, the generator–verifier gap (the likelihood as ' +
        'verifier), and the vote of the peers. Nothing is trained.',
    )
    .requiredOption(
      '--questions <file>',
      'JSONL with {"question": …, "answer": …, "id"?: …}, answers in plain text or LaTeX, or lists of values; - is standard input',
    )
    .addOption(
      peerOption(
        'NAME=FOLDER, NAME=hf://org/model[@revision], NAME=HOST:PORT, or NAME of the mesh that is up here (repeatable)',
      ).makeOptionMandatory(),
    )
    .option('--samples <number>', 'samples of each question; 0 for greedy answers alone', wholeNumber(0), 4)
    .option('--temperature <number>', 'temperature of the samples', positiveNumber, 1)
    .option('--max-tokens <number>', 'longest answer, in tokens', wholeNumber(1), 256)
    .addOption(seedOption('seed of the samples', 0n))
    .addOption(
      new Option(
        '--answers <forms>',
        'how a final answer is found, in order of preference, separated by commas',
      )
        .argParser(answerForms)
        .default(undefined, DEFAULT_ANSWERS.forms.join(',')),
    )
    .option('--deadline <seconds>', 'longest time for all answers of one peer', wholeNumber(1), 3600)
    .option('--device <device>', 'where models from folders run: cpu, webgpu, cuda or auto', 'cpu')
    .addOption(quantizationOption(' (of models from folders)'));
  addState(addJson(command, 'the scores'));
  return command.action(async (options: EvalOptions) => evaluate(cli, options));
}

async function evaluate(cli: Cli, options: EvalOptions): Promise<void> {
  const questions = await readLabelledQuestions(options.questions, cli.stdin);
  const peers = await fetchPeers(cli, parsePeerOptions(options.peer, cli.cwd));
  await using mesh = await meshFor(cli, options, peers);
  const known = mesh?.peers ?? new Map<string, string>();
  const named = await peersOfMesh(cli, options);
  const credentials = peerCredentials(cli.env);
  using clients = connectPeers(
    peers.map((peer) => {
      const address = addressOf(peer, known, named);
      // Peers on this machine speak plain text, whatever the environment says of meshes elsewhere.
      return [peer.name, address, peer.kind === 'address' ? credentials : undefined] as const;
    }),
  );
  const { samples, temperature, maxTokens, seed, answers } = options;
  const plan = {
    questions,
    sampledQuestions: samples === 0 ? 0 : questions.length,
    samples,
    sampleTemperature: temperature,
    maxTokens,
    seed,
    answers: answers === undefined ? DEFAULT_ANSWERS : { forms: answers },
  };
  const descriptions = await clients.describe(cli.signal);
  const measurement = await measureWithProgress(clients.peers, plan, {
    terminal: cli.terminal,
    label: 'Measuring',
    signal: cli.signal,
    deadlineMs: options.deadline * 1000,
  });
  const failures = failureLine(measurement);
  if (failures !== undefined) cli.terminal.line(failures);
  const result = evaluationResult(measurement, plan, descriptions);
  await forget(mesh);
  cli.out(options.json ? JSON.stringify(result) : renderEvaluation(result));
}

/** A mesh for the peers that come from folders, without anything that trains; undefined if there are none. */
async function meshFor(cli: Cli, options: EvalOptions, peers: readonly PeerOption[]) {
  const folders = peers.filter((peer) => peer.kind === 'folder');
  if (folders.length === 0) return undefined;
  const runId = newRunId('eval', cli.now(), cli.random);
  return startLocalMesh({
    state: join(fromCwd(cli, options.state), 'evals', runId),
    peers: folders.map(({ name, folder }) => ({ name, folder })),
    withRuns: false,
    tuning: measuredTuning(options),
    env: cli.env,
    signal: cli.signal,
    onStatus: (status) => {
      const line = statusLine(status);
      if (line !== undefined) cli.terminal.line(line);
    },
    onNotice: (text) => cli.terminal.line(text),
  });
}

/** Nothing trains here; weights in 8 bits are refused for training all of them, so that these get an adapter that stays zero. */
function measuredTuning({ device, quantization }: EvalOptions) {
  return { device, quantization, ...(quantization !== 'none' && { train: 'lora:1' }) };
}

/** Stops a mesh that has done its work, and removes its state; after a failure it stays, for its logs. */
async function forget(mesh: LocalMesh | undefined): Promise<void> {
  if (!mesh) return;
  await mesh[Symbol.asyncDispose]();
  await rm(mesh.state.root, { recursive: true, force: true });
}

async function peersOfMesh(cli: Cli, { state }: EvalOptions): Promise<Readonly<Record<string, string>>> {
  return (await readMeshFile(stateFolder(fromCwd(cli, state))))?.peers ?? {};
}

function addressOf(
  peer: PeerOption,
  started: ReadonlyMap<string, string>,
  named: Readonly<Record<string, string>>,
): string {
  if (peer.kind === 'address') return peer.address;
  const address = peer.kind === 'folder' ? started.get(peer.name) : named[peer.name];
  if (address !== undefined) return address;
  throw new ParleyError(
    'PEER_UNKNOWN',
    `No peer "${peer.name}" runs in a mesh here; give its folder or address, --peer ${peer.name}=…`,
  );
}

const ANSWER_FORMS: readonly AnswerForm[] = ['boxed', 'answer-is', 'marker', 'last-number'];

function answerForms(text: string): AnswerForm[] {
  return text.split(',').map((name) => {
    const form = ANSWER_FORMS.find((known) => known === name.trim());
    if (form !== undefined) return form;
    throw new InvalidArgumentError(`"${name}" is not one of ${ANSWER_FORMS.join(', ')}`);
  });
}

function positiveNumber(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError('give a number above 0');
}
