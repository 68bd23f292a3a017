import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RunRecord } from '@parley/cli';
import { run } from '../support/launch.js';

/** How large the demo that is measured is; the demo's own size unless given. */
export interface MeshBenchOptions {
  readonly questions?: number;
  readonly heldOut?: number;
  readonly sampled?: number;
}

/**
 * What the mesh costs. Its overhead is the wall time in which the engine of no peer is at work: processes starting,
 * messages under way, coordinator and pmi computing while every peer waits. Where at least one engine works, the mesh is
 * not what anybody waits for. `parley demo` finds it by asking all peers ten times a second what their engines do, and
 * counts the time before they can be asked as overhead. An engine is at work from taking a request up to its result; for
 * an update that includes the commit to disk.
 */
export interface MeshBench {
  /** Of the whole demo: start, measurement, training, measurement. */
  readonly wallSeconds: number;
  readonly overheadSeconds: number;
  /** overheadSeconds / wallSeconds; the target is under {@link OVERHEAD_TARGET}. */
  readonly overheadShare: number;
  readonly phases: readonly MeshBenchPhase[];
  readonly rounds: MeshBenchRounds;
}

/** One stretch of the demo. */
export interface MeshBenchPhase {
  readonly name: string;
  readonly seconds: number;
  readonly idleSeconds: number;
  /** Share of the time in which each peer's engine was at work. */
  readonly busyShare: Readonly<Record<string, number>>;
}

/** Means over the rounds of training, in seconds; the four add up to a round. */
export interface MeshBenchRounds {
  readonly count: number;
  /** From the first question to the last answer, as the coordinator measures it. */
  readonly generateSeconds: number;
  /** From the first span to the last score, as pmi measures it. */
  readonly scoreSeconds: number;
  /** Of the slowest peer: from taking the update to its last optimiser step, as the peer measures it. */
  readonly trainSeconds: number;
  /** Everything else: messages, reading and publishing streams, commits, storing weights. */
  readonly betweenSeconds: number;
}

export const OVERHEAD_TARGET = 0.15;

/** What `parley demo` adds to the record of its run. */
interface DemoRecord extends RunRecord {
  demo: {
    meshOverhead: { seconds: number; shareOfWall: number };
    phases: {
      name: string;
      seconds: number;
      engineIdleSeconds: number;
      busyShare: Record<string, number>;
    }[];
  };
}

/** Runs a demo in a folder of its own and reads what its record says of the time. */
export async function benchMesh(options: MeshBenchOptions = {}): Promise<MeshBench> {
  const state = await mkdtemp(join(tmpdir(), 'parley-bench-'));
  const { questions, heldOut, sampled } = options;
  const size = Object.entries({ '--questions': questions, '--held-out': heldOut, '--sampled': sampled });
  const given = size.flatMap(([name, value]) => (value === undefined ? [] : [name, String(value)]));
  try {
    const { code, stderr } = await run('cli', {}, ['demo', '--json', '--state', state, ...given]);
    const path = /record of the run is (\S+record\.json)/.exec(stderr)?.[1];
    if (code !== 0 || path === undefined) throw new Error(`parley demo ended with ${code}:\n${stderr}`);
    return read(JSON.parse(await readFile(path, 'utf8')) as DemoRecord);
  } finally {
    await rm(state, { recursive: true, force: true });
  }
}

function read({ demo, history }: DemoRecord): MeshBench {
  const { meshOverhead, phases } = demo;
  const count = history.rounds.length;
  const mean = (seconds: (round: (typeof history.rounds)[number]) => number) =>
    history.rounds.reduce((sum, round) => sum + seconds(round), 0) / count;
  const generateSeconds = mean((round) => round.generateSeconds ?? 0);
  const scoreSeconds = mean((round) => round.scoreSeconds ?? 0);
  const trainSeconds = mean(({ updates }) =>
    Math.max(...Object.values(updates).map(({ seconds }) => seconds)),
  );
  const roundSeconds = (phases.find(({ name }) => name === 'train')?.seconds ?? NaN) / count;
  return {
    wallSeconds: phases.reduce((sum, { seconds }) => sum + seconds, 0),
    overheadSeconds: meshOverhead.seconds,
    overheadShare: meshOverhead.shareOfWall,
    phases: phases.map(({ engineIdleSeconds: idleSeconds, ...phase }) => ({ ...phase, idleSeconds })),
    rounds: {
      count,
      generateSeconds,
      scoreSeconds,
      trainSeconds,
      betweenSeconds: roundSeconds - generateSeconds - scoreSeconds - trainSeconds,
    },
  };
}

/** The figures as a person reads them. */
export function renderMeshBench({
  wallSeconds,
  overheadSeconds,
  overheadShare,
  phases,
  rounds,
}: MeshBench): string {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const seconds = (value: number) => `${value.toFixed(2)} s`;
  const verdict = overheadShare < OVERHEAD_TARGET ? 'under' : 'NOT under';
  const phaseLines = phases.map(({ name, seconds: all, idleSeconds, busyShare }) => {
    const busy = Object.entries(busyShare).map(([peer, share]) => `${peer} ${percent(share)}`);
    return `  ${name.padEnd(16)} ${seconds(all).padStart(8)}, no engine at work ${seconds(idleSeconds)}; busy: ${busy.join(', ')}`;
  });
  const { count, generateSeconds, scoreSeconds, trainSeconds, betweenSeconds } = rounds;
  return [
    `Mesh overhead: ${percent(overheadShare)} of the demo (${seconds(overheadSeconds)} of ${seconds(wallSeconds)} in which no engine worked), ${verdict} ${percent(OVERHEAD_TARGET)}`,
    ...phaseLines,
    `  one of ${count} rounds: answers ${seconds(generateSeconds)}, scores ${seconds(scoreSeconds)}, training ${seconds(trainSeconds)}, in between ${seconds(betweenSeconds)}`,
  ].join('\n');
}
