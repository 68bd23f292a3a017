import { availableParallelism, platform, release } from 'node:os';
import { join } from 'node:path';
import type { DescribeResponse, Run } from '@parley/contracts';
import { sha256, writeFileAtomic } from '@parley/runtime';
import type { Recipe } from '@parley/pst';
import type { Prompt } from './submit-run.js';
import { stateName } from './follow-run.js';
import type { RunHistory } from './run-recorder.js';

/** A peer in the record. */
export interface PeerRecord {
  name: string;
  architecture: string;
  parameters: number;
  trainableParameters: number;
  trainingMethod: string;
  device: string;
  /** Of the checkpoint it was configured with. */
  baseSha256: string;
  firstVersion: number;
  firstWeightsSha256: string;
  lastVersion: number;
  lastWeightsSha256: string;
  updatesApplied: number;
}

/** Everything known of a run: what it was to do, what it did, where and how long. Plain JSON. */
export interface RunRecord {
  format: 'parley.run-record/1';
  runId: string;
  title: string;
  state: string;
  stateReason: string;
  startTime: string;
  endTime: string;
  wallSeconds: number;
  seed: string;
  recipe: Recipe;
  peers: PeerRecord[];
  prompts: { count: number; sha256: string };
  rounds: number;
  updatesPublished: number;
  updatesApplied: number;
  history: RunHistory;
  machine: { node: string; platform: string; cores: number };
  /** What a command adds: the demo its measurements and phases. */
  [extra: string]: unknown;
}

/** What a record is made of. */
export interface RunRecordParts {
  run: Run;
  recipe: Recipe;
  prompts: readonly Prompt[];
  /** Descriptions of the peers at the start and at the end, in the order of the run. */
  before: readonly DescribeResponse[];
  after: readonly DescribeResponse[];
  history: RunHistory;
  startTime: Date;
  endTime: Date;
  extra?: Record<string, unknown>;
}

/** The record of a run. */
export function createRunRecord(parts: RunRecordParts): RunRecord {
  const { run, recipe, prompts, before, after, history, startTime, endTime, extra = {} } = parts;
  const { progress, spec } = run;
  return {
    format: 'parley.run-record/1',
    runId: run.runId,
    title: spec?.title ?? '',
    state: stateName(run.state),
    stateReason: run.stateReason,
    startTime: startTime.toISOString(),
    endTime: endTime.toISOString(),
    wallSeconds: (endTime.getTime() - startTime.getTime()) / 1000,
    seed: String(spec?.seed ?? 0n),
    recipe,
    peers: before.map((first, index) => peerRecord(first, after[index] ?? first)),
    prompts: { count: prompts.length, sha256: sha256(prompts.map(({ question }) => question).join('\n')) },
    rounds: Number(progress?.roundsGenerated ?? 0n),
    updatesPublished: Number(progress?.updatesPublished ?? 0n),
    updatesApplied: Number(progress?.updatesApplied ?? 0n),
    history,
    machine: {
      node: process.versions.node,
      platform: `${platform()} ${release()} ${process.arch}`,
      cores: availableParallelism(),
    },
    ...extra,
  };
}

function peerRecord(first: DescribeResponse, last: DescribeResponse): PeerRecord {
  return {
    name: first.name,
    architecture: first.architecture,
    parameters: Number(first.parameters),
    trainableParameters: Number(first.trainableParameters),
    trainingMethod: first.trainingMethod,
    device: first.device,
    baseSha256: first.baseSha256,
    firstVersion: Number(first.version),
    firstWeightsSha256: first.weightsSha256,
    lastVersion: Number(last.version),
    lastWeightsSha256: last.weightsSha256,
    updatesApplied: Number(last.updatesApplied),
  };
}

/** Writes `record.json` into a run's folder. @returns its path */
export async function writeRunRecord(folder: string, record: RunRecord): Promise<string> {
  const path = join(folder, 'record.json');
  await writeFileAtomic(path, `${JSON.stringify(record, null, 2)}\n`);
  return path;
}
