import { Command } from 'commander';
import { timestampDate } from '@bufbuild/protobuf/wkt';
import type { Run } from '@parley/contracts';
import type { Cli } from '../cli.js';
import { coordinatorAddress, coordinatorClient } from '../mesh/find-coordinator.js';
import { stateFolder } from '../mesh/state-folder.js';
import { renderTable } from '../output/text-table.js';
import { stateName } from '../runs/follow-run.js';
import type { RunRecord } from '../runs/run-record.js';
import { storedRecords } from '../runs/stored-records.js';
import { addJson, addState, fromCwd } from './common-options.js';
import type { CommonOptions } from './common-options.js';

interface RunsOptions extends CommonOptions {
  coordinator?: string;
}

/** A run in the list. */
interface RunLine {
  runId: string;
  state: string;
  startTime: string;
  peers: string[];
  recipe: string;
  questions: number;
  rounds: number;
  updatesPublished: number;
  updatesApplied: number;
}

/** `parley runs`. */
export function runsCommand(cli: Cli): Command {
  const command = new Command('runs')
    .summary('list runs')
    .description(
      'Lists the runs of the mesh that is up, and those whose record lies in the state folder; newest first.',
    )
    .option(
      '--coordinator <address>',
      'host:port of the coordinator; the mesh that is up here, if any, unless given',
    );
  addState(addJson(command, 'the list'));
  return command.action(async (options: RunsOptions) => runs(cli, options));
}

async function runs(cli: Cli, { json, state, coordinator }: RunsOptions): Promise<void> {
  const folder = fromCwd(cli, state);
  const address = await coordinatorAddress({
    state: folder,
    env: cli.env,
    ...(coordinator && { coordinator }),
  });
  const live = address === undefined ? [] : await listRuns(cli, address);
  const known = new Set(live.map(({ runId }) => runId));
  const stored = (await storedRecords(stateFolder(folder)))
    .map(ofRecord)
    .filter(({ runId }) => !known.has(runId));
  const lines = [...live, ...stored].sort((a, b) => b.startTime.localeCompare(a.startTime));
  if (json) cli.out(JSON.stringify({ runs: lines }));
  else cli.out(lines.length === 0 ? 'No runs yet; `parley run` and `parley demo` make some.' : render(lines));
}

async function listRuns({ env, signal }: Cli, address: string): Promise<RunLine[]> {
  using client = coordinatorClient(address, env);
  const lines: RunLine[] = [];
  for (let pageToken = ''; ;) {
    const page = await client.listRuns({ pageSize: 100, pageToken }, { signal });
    lines.push(...page.runs.map(ofRun));
    if (page.nextPageToken === '') return lines;
    pageToken = page.nextPageToken;
  }
}

function ofRun({ runId, state, spec, progress, createTime }: Run): RunLine {
  return {
    runId,
    state: stateName(state),
    startTime: createTime ? timestampDate(createTime).toISOString() : '',
    peers: spec?.peers ?? [],
    recipe: spec?.recipe?.preset ?? '',
    questions: Number(progress?.promptsSubmitted ?? 0n),
    rounds: Number(progress?.roundsGenerated ?? 0n),
    updatesPublished: Number(progress?.updatesPublished ?? 0n),
    updatesApplied: Number(progress?.updatesApplied ?? 0n),
  };
}

function ofRecord(record: RunRecord): RunLine {
  const { runId, state, startTime, rounds, updatesPublished, updatesApplied } = record;
  const peers = record.peers.map(({ name }) => name);
  const [recipe, questions] = [record.recipe.preset, record.prompts.count];
  return { runId, state, startTime, peers, recipe, questions, rounds, updatesPublished, updatesApplied };
}

function render(lines: readonly RunLine[]): string {
  return renderTable(
    [
      { heading: 'run' },
      { heading: 'state' },
      { heading: 'started' },
      { heading: 'peers' },
      { heading: 'recipe' },
      { heading: 'questions', align: 'right' },
      { heading: 'rounds', align: 'right' },
      { heading: 'updates', align: 'right' },
    ],
    lines.map((line) => [
      line.runId,
      line.state,
      line.startTime.slice(0, 19).replace('T', ' '),
      line.peers.join(', '),
      line.recipe,
      String(line.questions),
      String(line.rounds),
      `${line.updatesApplied}/${line.updatesPublished}`,
    ]),
  );
}
