import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import {
  GenerateItemSchema,
  MonitorMeasuredSchema,
  MonitoredAnswerSchema,
  MonitoredPeerSchema,
  SamplingSchema,
} from '@parley/contracts';
import type {
  GenerateResponse,
  ItemFailure,
  MonitorMeasured,
  MonitoredAnswer,
  Prompt,
} from '@parley/contracts';
import { createRoundCrew } from '@parley/mesh';
import type { PeerHandle } from '@parley/mesh';
import { seedFrom } from '@parley/pst';
import type { Recipe } from '@parley/pst';
import type { RoundTools } from './generate-round.js';

/** What one measurement is made of. */
export interface MonitorPlan {
  runId: string;
  /** The round that it is taken before. */
  round: number;
  look: number;
  peers: readonly PeerHandle[];
  recipe: Recipe;
  /** The run's. */
  seed: bigint;
  pool: readonly Prompt[];
  /** By name, peers that are left out, and why. */
  absent: ReadonlyMap<string, ItemFailure>;
  /** The version each peer is known to have committed. */
  versions: readonly bigint[];
  /** The version that said last what a peer says; it is not asked again. */
  measuredVersion: (peer: string) => bigint | undefined;
}

/**
 * Asks peers the monitor questions, each alone: greedily, and a sample. The seeds do not depend on the round: the same
 * weights say the same. A failed question counts for nothing.
 *
 * @throws ParleyError VERSION_MISMATCH if a peer's weights changed meanwhile: begin again; or what a peer refused for
 *   good; or the signal's reason
 */
export async function measureMonitor(
  plan: MonitorPlan,
  { extractAnswer, wallClockMs }: RoundTools,
  signal: AbortSignal,
): Promise<MonitorMeasured> {
  const { runId, round, look, peers, recipe, pool, absent } = plan;
  const broken = new AbortController();
  const crew = createRoundCrew(peers, recipe.rounds.quorum, AbortSignal.any([signal, broken.signal]), absent);
  const answers = new Map<string, MonitoredAnswer[]>();
  const extract = (text: string) => extractAnswer(text, recipe.aggregate.answerForms) ?? undefined;
  try {
    await crew.assemble(plan.versions);
    const ask = (peer: number) =>
      crew.work(peer, async (handle, turn) => {
        const version = crew.version(peer);
        if (plan.measuredVersion(handle.name) === version) return;
        const greedy = await askAll(plan, handle, version, 'greedy', turn);
        const sampled = await askAll(plan, handle, version, 'sample', turn);
        answers.set(
          handle.name,
          greedy.map((one, i) => toAnswer(one, sampled[i], extract)),
        );
      });
    await Promise.all(
      peers.map((_, peer) =>
        ask(peer).catch((error: unknown) => {
          broken.abort(error);
          throw error;
        }),
      ),
    );
    const asked = peers.flatMap(({ name }, peer) => {
      const missing = absent.has(name) ? undefined : crew.missing(peer);
      if (missing !== undefined) return create(MonitoredPeerSchema, { name, missing });
      const given = answers.get(name);
      return given === undefined
        ? []
        : create(MonitoredPeerSchema, { name, version: crew.version(peer), answers: given });
    });
    return create(MonitorMeasuredSchema, {
      runId,
      round: BigInt(round),
      look,
      peers: asked,
      promptIds: pool.map(({ promptId }) => promptId),
      completeTime: timestampFromMs(wallClockMs()),
    });
  } finally {
    crew.dismiss();
  }
}

/** One response a question, in calls of a micro-batch. */
async function askAll(
  { runId, round, look, recipe, seed, pool }: MonitorPlan,
  handle: PeerHandle,
  version: bigint,
  kind: 'greedy' | 'sample',
  signal: AbortSignal,
): Promise<GenerateResponse[]> {
  const { microBatch } = recipe.rounds;
  const temperature = kind === 'greedy' ? 0 : recipe.monitor.temperature;
  const sampling = create(SamplingSchema, {
    temperature,
    topP: 1,
    maxTokens: recipe.generation.maxTokens,
  });
  const responses: GenerateResponse[] = [];
  for (let start = 0; start < pool.length; start += microBatch) {
    const items = pool.slice(start, start + microBatch).map(({ promptId, question }) =>
      create(GenerateItemSchema, {
        itemId: promptId,
        question,
        seed: seedFrom(seed, 'monitor', promptId, handle.name),
      }),
    );
    const requestId = `${runId}/${round}/${handle.name}/monitor-${look}-${kind}-${start / microBatch}`;
    responses.push(...(await handle.generate({ requestId, items, sampling, version }, signal)));
  }
  return responses;
}

function toAnswer(
  greedy: GenerateResponse,
  sample: GenerateResponse,
  extract: (text: string) => string | undefined,
): MonitoredAnswer {
  const [said, sampled] = [greedy.outcome, sample.outcome];
  if (said.case !== 'completion') return failed(said.value);
  if (sampled.case !== 'completion') return failed(sampled.value);
  const [finalAnswer, sampledAnswer] = [extract(said.value.text), extract(sampled.value.text)];
  return create(MonitoredAnswerSchema, {
    ...(finalAnswer !== undefined && { finalAnswer }),
    ...(sampledAnswer !== undefined && { sampledAnswer }),
    meanEntropy: said.value.meanEntropy,
    completionTokens: said.value.completionTokens,
  });
}

function failed(failure: ItemFailure | undefined): MonitoredAnswer {
  return create(MonitoredAnswerSchema, { ...(failure && { failure }) });
}
