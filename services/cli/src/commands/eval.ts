import { Command, InvalidArgumentError, Option } from 'commander';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BENCHMARKS, DEFAULT_ANSWERS } from '@parley/evaluation';
import type { AnswerForm, BenchmarkName } from '@parley/evaluation';
import type { Quantization } from '@parley/lm';
import { ParleyError } from '@parley/runtime';
import type { Cli } from '../cli.js';
import { readEvaluationData } from '../input/evaluation-data.js';
import type { DataOptions, EvaluationData } from '../input/evaluation-data.js';
import { parsePeerOptions } from '../input/peer-option.js';
import { fetchPeers } from '../input/fetch-peers.js';
import type { PeerOption } from '../input/peer-option.js';
import { requireOneVersion } from '../measure/ask-peer.js';
import { checkContamination, contaminationOf, readTrainingPrompts } from '../measure/contamination.js';
import { evaluationResult, renderEvaluation } from '../measure/evaluation-report.js';
import { failureLine, measureWithProgress } from '../measure/measure-with-progress.js';
import type { Verifier } from '../measure/measurement.js';
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
  collect,
  fromCwd,
  inputFromCwd,
  peerOption,
  quantizationOption,
  seedOption,
  wholeNumber,
} from './common-options.js';
import type { CommonOptions } from './common-options.js';

interface EvalOptions extends CommonOptions {
  questions?: string;
  benchmark?: BenchmarkName;
  data?: string;
  limit?: number;
  prompt?: string;
  trainedOn?: string[];
  allowContamination?: boolean;
  peer: string[];
  samples: number;
  temperature: number;
  maxTokens: number;
  seed: bigint;
  answers?: AnswerForm[];
  verifiers: readonly Verifier[];
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
        'interval, sampled accuracy, pass@k, majority of the samples, the generator–verifier gap (the likelihood, and ' +
        "the peer's own yes or no, as verifiers), and the vote of the peers. The questions are your own, or a copy of " +
        'a benchmark. Nothing is trained. docs/evaluation.md says more.',
    )
    .option(
      '--questions <file>',
      'JSONL with {"question": …, "answer": …, "id"?: …}, answers in plain text or LaTeX, or lists of values; - is standard input',
    )
    .addOption(
      new Option('--benchmark <name>', 'a benchmark, with its prompt and its way of grading').choices(
        Object.keys(BENCHMARKS),
      ),
    )
    .option('--data <file>', 'your copy of the benchmark: JSONL as for --questions')
    .option('--limit <number>', 'ask the first questions alone', wholeNumber(1))
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
        `how a final answer is found, in order of preference, separated by commas; the benchmark's own, or ${DEFAULT_ANSWERS.forms.join(',')}, unless given`,
      ).argParser(answerForms),
    )
    .addOption(
      new Option(
        '--prompt <template>',
        "what a peer is asked, around {question}; the benchmark's own, or the bare question, unless given",
      ).argParser(promptTemplate),
    )
    .addOption(
      new Option('--verifiers <names>', 'what judges the samples: likelihood, yes-no, separated by commas')
        .argParser(verifiers)
        .default(VERIFIERS, VERIFIERS.join(',')),
    )
    .option(
      '--trained-on <file>',
      'questions that the peers were trained on, as for `parley run --questions`; a question among them is refused (repeatable)',
      collect,
    )
    .option('--allow-contamination', 'measure on questions that were trained on too; the result says so')
    .option('--deadline <seconds>', 'longest time for all answers of one peer', wholeNumber(1), 3600)
    .option('--device <device>', 'where models from folders run: cpu, webgpu, cuda or auto', 'cpu')
    .addOption(quantizationOption(' (of models from folders)'));
  addState(addJson(command, 'the scores'));
  return command.action(async (options: EvalOptions) =>
    evaluate(cli, options, command.parent?.version() ?? ''),
  );
}

async function evaluate(cli: Cli, options: EvalOptions, parley: string): Promise<void> {
  const data = await readEvaluationData(dataOptions(cli, options), cli.stdin);
  const plan = planOf(options, data);
  const given = parsePeerOptions(options.peer, cli.cwd);
  const state = stateFolder(fromCwd(cli, options.state));
  const training = await readTrainingPrompts(
    (options.trainedOn ?? []).map((file) => inputFromCwd(cli, file)),
    given,
    { stdin: cli.stdin, state },
  );
  const contaminated = checkContamination(data.questions, training, {
    templates: [plan.promptTemplate, ...Object.values(BENCHMARKS).map((known) => known.promptTemplate)],
    allow: options.allowContamination ?? false,
  });
  const peers = await fetchPeers(cli, given);
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
  const descriptions = await clients.describe(cli.signal);
  const measurement = await measureWithProgress(clients.peers, plan, {
    terminal: cli.terminal,
    label: 'Measuring',
    signal: cli.signal,
    deadlineMs: options.deadline * 1000,
  });
  const failures = failureLine(measurement);
  if (failures !== undefined) cli.terminal.line(failures);
  for (const [index, { version }] of descriptions.entries()) {
    const { name, version: measured = version } = measurement.peers[index] ?? {};
    requireOneVersion(name ?? '', [version, measured]);
  }
  const versions = new Map(measurement.peers.map(({ name, version }) => [name, Number(version)]));
  const contamination = contaminationOf(contaminated, training, given, versions);
  const time = cli.now();
  const result = evaluationResult({ measurement, plan, data, descriptions, contamination, parley, time });
  await forget(mesh);
  cli.out(options.json ? JSON.stringify(result) : renderEvaluation(result));
}

function dataOptions(cli: Cli, { questions, benchmark, data, limit }: EvalOptions): DataOptions {
  return {
    ...(questions !== undefined && { questions: inputFromCwd(cli, questions) }),
    ...(benchmark !== undefined && { benchmark }),
    ...(data !== undefined && { data: inputFromCwd(cli, data) }),
    ...(limit !== undefined && { limit }),
  };
}

const DEFAULT_TOLERANCE = 1e-6;

function planOf(options: EvalOptions, { questions, benchmark }: EvaluationData) {
  const { samples, temperature, maxTokens, seed, answers, prompt } = options;
  return {
    questions,
    sampledQuestions: samples === 0 ? 0 : questions.length,
    samples,
    sampleTemperature: temperature,
    maxTokens,
    seed,
    answers:
      answers === undefined
        ? (benchmark?.answers ?? DEFAULT_ANSWERS)
        : { ...benchmark?.answers, forms: answers },
    tolerance: benchmark?.tolerance ?? DEFAULT_TOLERANCE,
    promptTemplate: prompt ?? benchmark?.promptTemplate ?? '{question}',
    verifiers: options.verifiers,
  };
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
const VERIFIERS: readonly Verifier[] = ['likelihood', 'yes-no'];

const answerForms = listOf(ANSWER_FORMS);
const verifiers = listOf(VERIFIERS);

/** Words of a list, separated by commas. */
function listOf<T extends string>(words: readonly T[]): (text: string) => T[] {
  return (text) =>
    text.split(',').map((name) => {
      const word = words.find((known) => known === name.trim());
      if (word !== undefined) return word;
      throw new InvalidArgumentError(`"${name}" is not one of ${words.join(', ')}`);
    });
}

function promptTemplate(text: string): string {
  if (text.includes('{question}')) return text;
  throw new InvalidArgumentError('put {question} where the question goes');
}

function positiveNumber(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError('give a number above 0');
}
