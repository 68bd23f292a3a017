import { Command } from 'commander';
import { ParleyError } from '@parley/runtime';
import type { Cli } from '../cli.js';
import { askMesh } from '../ask/ask-mesh.js';
import type { MeshAnswer, MeshAnswers } from '../ask/ask-mesh.js';
import { parsePeerOptions } from '../input/peer-option.js';
import { readPrompts } from '../input/prompts-file.js';
import { connectPeers } from '../measure/peer-clients.js';
import { peerCredentials } from '../mesh/access.js';
import { connectCoordinator } from '../mesh/find-coordinator.js';
import { findPeers, peerNamed } from '../mesh/find-peers.js';
import { newRunId } from '../runs/submit-run.js';
import { addJson, addState, fromCwd, peerOption, wholeNumber } from './common-options.js';
import type { CommonOptions } from './common-options.js';

interface AskOptions extends CommonOptions {
  questions?: string;
  peer?: string[];
  maxTokens: number;
  deadline?: number;
  coordinator?: string;
}

/** Seconds for one question, and for a file of them. */
const DEADLINE_SECONDS = { one: 30, many: 600 };

/** `parley ask`. */
export function askCommand(cli: Cli): Command {
  const command = new Command('ask')
    .summary('ask a mesh a question and take the vote of its peers')
    .description(
      'Asks every peer of a mesh, each alone and greedily, and prints the final answer that most of them give (a tie goes ' +
        'to the likeliest) and the text of the one that is surest of it. With --questions, a line for each: its id and ' +
        'the answer. Nothing is trained.',
    )
    .argument('[question]', 'the question')
    .option('--questions <file>', 'questions, one a line or JSONL with {"question": …}; - is standard input')
    .addOption(peerOption('NAME of the mesh, or NAME=HOST:PORT (repeatable); all of the mesh unless given'))
    .option('--max-tokens <number>', 'longest answer, in tokens', wholeNumber(1), 256)
    .option(
      '--deadline <seconds>',
      `longest wait for a peer (default: ${DEADLINE_SECONDS.one}, with --questions ${DEADLINE_SECONDS.many})`,
      wholeNumber(1),
    )
    .option('--coordinator <address>', 'host:port of the coordinator; the mesh that is up here unless given');
  addState(addJson(command, 'the answers and who said what'));
  return command.action(async (question: string | undefined, options: AskOptions) =>
    ask(cli, question, options),
  );
}

async function ask(cli: Cli, question: string | undefined, options: AskOptions): Promise<void> {
  const { questions: file, maxTokens, json } = options;
  if ((question === undefined) === (file === undefined))
    throw new ParleyError('CONFIG_INVALID', 'Give a question, or a file of them with --questions');
  if (question?.trim() === '') throw new ParleyError('CONFIG_INVALID', 'The question is empty');
  const questions =
    file === undefined ? [{ promptId: 'question', question: question! }] : await readPrompts(file, cli.stdin);
  const seconds = options.deadline ?? (file === undefined ? DEADLINE_SECONDS.one : DEADLINE_SECONDS.many);
  using clients = connectPeers(await peersOf(cli, options));
  const found = await askMesh({
    peers: clients.peers,
    questions,
    maxTokens,
    requestId: newRunId('ask', cli.now(), cli.random),
    deadlineMs: seconds * 1000,
    signal: cli.signal,
  });
  if (json) cli.out(JSON.stringify(toJson(found)));
  else if (file === undefined) showOne(cli, found.answers[0]);
  else for (const { promptId, answer } of found.answers) cli.out(`${promptId}\t${answer ?? ''}`);
  for (const { peer, message } of found.silent) cli.terminal.line(`${peer} did not answer: ${message}`);
}

async function peersOf(cli: Cli, { peer, coordinator, ...options }: AskOptions) {
  const wanted = parsePeerOptions(peer, cli.cwd);
  const strange = wanted.find(({ kind }) => kind === 'folder' || kind === 'model');
  if (strange)
    throw new ParleyError(
      'CONFIG_INVALID',
      `--peer ${strange.name}: only peers that are up can be asked; \`parley up --peer\` starts one`,
    );
  const mesh = async () => {
    const state = fromCwd(cli, options.state);
    const { env, signal } = cli;
    using client = await connectCoordinator({ state, env, ...(coordinator && { coordinator }) });
    return findPeers(client, { state, env, signal });
  };
  const known = wanted.length === 0 || wanted.some(({ kind }) => kind === 'name') ? await mesh() : [];
  if (wanted.length === 0 && known.length === 0)
    throw new ParleyError('PEER_UNKNOWN', 'No peer has announced itself to this mesh yet');
  const asked =
    wanted.length === 0
      ? known
      : wanted.map((one) =>
          one.kind === 'address'
            ? { ...one, credentials: peerCredentials(cli.env) }
            : peerNamed(known, one.name),
        );
  return asked.map(({ name, address, credentials }) => [name, address, credentials] as const);
}

function showOne(cli: Cli, { answer, votes, chosen, said, failures }: MeshAnswer): void {
  if (answer !== null) cli.out(answer);
  if (chosen) cli.out(`${answer === null ? '' : '\n'}${chosen.text}`);
  const others = said
    .filter((saying) => saying.answer !== answer)
    .map((saying) => `${saying.peer} says ${saying.answer ?? 'nothing final'}`);
  const head =
    answer === null
      ? 'no peer gave a final answer'
      : `${votes} of ${said.length} say so; in the words of ${chosen?.peer}`;
  cli.terminal.line([head, ...others].join('; '));
  for (const { peer, message } of failures) cli.terminal.line(`${peer} could not answer: ${message}`);
}

function toJson({ answers, silent }: MeshAnswers) {
  return {
    answers: answers.map(({ promptId, question, answer, votes, chosen, said, failures }) => ({
      id: promptId,
      question,
      answer,
      votes,
      text: chosen?.text ?? null,
      peer: chosen?.peer ?? null,
      said: said.map((saying) => ({ ...saying, version: Number(saying.version) })),
      failures,
    })),
    silent,
  };
}
