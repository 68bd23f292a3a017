import { STREAMS, filters, natsBlobs, readFrom } from '@parley/bus';
import type { Bus } from '@parley/bus';
import { RunState, VersionCommittedSchema } from '@parley/contracts';
import type { CoordinatorService } from '@parley/contracts';
import { PAPER } from '@parley/pst';
import type { Recipe } from '@parley/pst';
import type { Client, ParleyError } from '@parley/runtime';
import type { Cli } from '../cli.js';
import { executeRun } from '../runs/execute-run.js';
import { stateName } from '../runs/follow-run.js';
import { newRunId } from '../runs/submit-run.js';
import { ok, problem, unknown, warning } from './finding.js';
import type { Finding } from './finding.js';

const QUESTIONS = 4;

/**
 * One round that goes the whole way and teaches nothing, clones neither: AdamW moves a weight by the learning rate at most.
 * No guard judges it.
 */
const TINY: Recipe = {
  ...PAPER,
  preset: 'custom',
  generation: { ...PAPER.generation, maxTokens: 32 },
  guards: { ...PAPER.guards, entropyDrop: null, lengthDrift: null, parseableDrop: null, allowClones: true },
  training: { ...PAPER.training, learningRate: 1e-12, minibatchSize: QUESTIONS },
  rounds: { ...PAPER.rounds, promptsPerRound: QUESTIONS, microBatch: QUESTIONS },
};

/** Lets peers answer, score and learn one tiny round, and counts: one version more of each, no update twice. */
export async function checkRound(
  cli: Pick<Cli, 'terminal' | 'signal' | 'now' | 'random'>,
  coordinator: Client<typeof CoordinatorService>,
  peers: readonly string[],
  bus: Bus | undefined,
): Promise<Finding[]> {
  if (peers.length < 2) return [problem('round', `${peers.length} peers`, 'two peers at least make a round')];
  const runId = newRunId('doctor', cli.now(), cli.random);
  const prompts = Array.from({ length: QUESTIONS }, (_, i) => ({
    promptId: `q${i}`,
    question: `What is ${i + 2} plus ${i + 3}?`,
  }));
  const request = { runId, title: 'parley doctor', peers, recipe: TINY, seed: 0n, prompts };
  const { run, before, after, startTime, endTime } = await executeRun(cli, coordinator, request);
  const seconds = ((endTime.getTime() - startTime.getTime()) / 1000).toFixed(1);
  if (run.state !== RunState.COMPLETED) {
    return [
      problem(
        'round',
        `run ${runId} ${stateName(run.state)}: ${run.stateReason}`,
        'the reason says what to do',
      ),
    ];
  }
  const { updatesPublished = 0n, updatesApplied = 0n } = run.progress ?? {};
  const counted = `${updatesPublished} updates published, ${updatesApplied} applied, in ${seconds} s (run ${runId})`;
  const total =
    updatesPublished === BigInt(peers.length) && updatesApplied === updatesPublished
      ? ok('round', counted)
      : problem('round', counted, `${peers.length} of each were expected; look at \`parley watch ${runId}\``);
  const versions = before.map((first, index) => {
    const last = after[index] ?? first;
    const detail = `version ${first.version} → ${last.version}, ledger ${first.updatesApplied} → ${last.updatesApplied}`;
    const advanced = last.version === first.version + 1n && last.updatesApplied === first.updatesApplied + 1n;
    const subject = `round of ${first.name}`;
    return advanced ? ok(subject, detail) : problem(subject, detail, 'one more of each was expected');
  });
  return [total, ...versions, ...(await checkOnce(bus, runId, peers))];
}

/** The stream of versions has each update of the run once. */
async function checkOnce(bus: Bus | undefined, runId: string, peers: readonly string[]): Promise<Finding[]> {
  if (bus === undefined) return [unknown('round in NATS', 'NATS is not named (PARLEY_NATS_URL)')];
  const made = new Map<string, number>();
  const options = { stream: STREAMS.versions, schema: VersionCommittedSchema, blobs: natsBlobs(bus) };
  const invalid: string[] = [];
  const onInvalid = ({ message }: ParleyError) => invalid.push(message);
  for await (const { message } of readFrom(bus, { ...options, filter: filters.versions(), onInvalid })) {
    const { cause } = message;
    if (cause.case === 'update' && cause.value.runId === runId)
      made.set(cause.value.updateId, (made.get(cause.value.updateId) ?? 0) + 1);
  }
  const twice = [...made].filter(([, count]) => count !== 1).map(([id]) => id);
  const missing = peers.map((peer) => `${runId}/0/${peer}`).filter((id) => !made.has(id));
  const undecodable = invalid.map((message) =>
    warning('versions in NATS', message, 'a peer wrote what no peer of Parley writes; see who it is'),
  );
  if (twice.length + missing.length === 0)
    return [...undecodable, ok('round in NATS', `${made.size} versions, each update once`)];
  const detail = `applied twice: ${twice.join(', ') || 'none'}; missing: ${missing.join(', ') || 'none'}`;
  return [
    ...undecodable,
    problem('round in NATS', detail, 'this must not happen; report it with the logs of these peers'),
  ];
}
