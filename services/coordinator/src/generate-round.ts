import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import {
  GenerateItemSchema,
  RoundGeneratedSchema,
  RoundPeerSchema,
  SamplingSchema,
  ScoreItemSchema,
} from '@parley/contracts';
import type { ItemFailure, RoundGenerated } from '@parley/contracts';
import { createRoundCrew } from '@parley/mesh';
import type { PeerHandle, RoundCrew } from '@parley/mesh';
import { seedFrom } from '@parley/pst';
import type { Recipe } from '@parley/pst';
import { ParleyError } from '@parley/runtime';
import { planRound } from './plan-round.js';
import type { Step } from './plan-round.js';
import { createRoundDraft } from './round-draft.js';
import type { ExtractAnswer, QueuedPrompt, RoundDraft } from './round-draft.js';
import { runSteps } from './run-steps.js';
import type { PeerLoad } from './run-steps.js';

/** What one round is made of. */
export interface RoundPlan {
  runId: string;
  /** From 0. */
  round: number;
  peers: readonly PeerHandle[];
  recipe: Recipe;
  /** The run's. */
  seed: bigint;
  /** At least one, in stream order. */
  prompts: readonly QueuedPrompt[];
  /** The version each peer is known to have committed. */
  versions: readonly bigint[];
  /** By name, peers that take no part, and why. */
  absent: ReadonlyMap<string, ItemFailure>;
}

/** What generation needs from outside. */
export interface RoundTools {
  extractAnswer: ExtractAnswer;
  /** Monotonic. */
  nowMs: () => number;
  /** Since the epoch. */
  wallClockMs: () => number;
}

/** A generated round, and what each peer did for it. */
export interface GeneratedRound {
  generated: RoundGenerated;
  loads: PeerLoad[];
}

/**
 * Asks the peers of a run one round of questions and aggregates the answers. With `maxStaleness` 0 the result depends
 * on nothing but the plan and the versions of the peers.
 *
 * @throws ParleyError VERSION_MISMATCH if a peer's weights changed meanwhile in a lock-step run: begin again; or what a
 *   peer refused for good; or the signal's reason
 */
export async function generateRound(
  plan: RoundPlan,
  { extractAnswer, nowMs, wallClockMs }: RoundTools,
  signal: AbortSignal,
): Promise<GeneratedRound> {
  const startMs = nowMs();
  const { runId, round, peers, recipe, prompts, seed } = plan;
  const names = peers.map((peer) => peer.name);
  const draft = createRoundDraft({ recipe, seed, round, peers: names, prompts, extractAnswer });
  const broken = new AbortController();
  const halt = AbortSignal.any([signal, broken.signal]);
  const crew = createRoundCrew(peers, recipe.rounds.quorum, halt, plan.absent);
  try {
    await crew.assemble(plan.versions);
    const steps = planRound({
      orders: draft.items.map((item) => item.order),
      peers: peers.length,
      microBatch: recipe.rounds.microBatch,
      sequential: recipe.generation.context === 'sequential',
      independent: recipe.guards.independentSupport,
      judged: recipe.aggregate.strategy === 'trust',
    });
    const execute = async (step: Step): Promise<void> => {
      try {
        await (step.kind === 'judge' ? judge : answer)(step, plan, draft, crew);
      } catch (error) {
        broken.abort(error);
        throw error;
      }
    };
    const loads = await runSteps(steps, peers.length, execute, nowMs);
    const missing = names.map((_, peer) => crew.missing(peer));
    missing.forEach((cause, peer) => cause && draft.drop(peer, cause));
    draft.aggregate();
    const generated = create(RoundGeneratedSchema, {
      runId,
      round: BigInt(round),
      lastPromptSequence: prompts.at(-1)!.sequence,
      peers: missing.map((cause, peer) =>
        create(RoundPeerSchema, {
          name: names[peer],
          ...(cause ? { missing: cause } : { version: crew.version(peer) }),
        }),
      ),
      items: [...draft.items],
      seconds: (nowMs() - startMs) / 1000,
      completeTime: timestampFromMs(wallClockMs()),
    });
    return { generated, loads };
  } finally {
    crew.dismiss();
  }
}

/** One Generate call. */
async function answer(
  { id, kind, peer, items }: Step,
  { runId, round, recipe, seed }: RoundPlan,
  draft: RoundDraft,
  crew: RoundCrew,
): Promise<void> {
  await crew.work(peer, async (handle, signal) => {
    const independent = kind === 'independent';
    const asked = items.map((index) => {
      const { promptId, question } = draft.items[index];
      return create(GenerateItemSchema, {
        itemId: promptId,
        question,
        context: independent ? [] : draft.context(index, peer),
        seed: seedFrom(seed, round, promptId, handle.name, kind),
      });
    });
    const required = requiredVersion(recipe, crew, peer);
    const { temperature, topK, topP, minP, repetitionPenalty, maxTokens } = recipe.generation;
    const responses = await handle.generate(
      {
        requestId: `${runId}/${round}/${handle.name}/${id}`,
        items: asked,
        sampling: create(SamplingSchema, {
          temperature,
          topK: topK ?? 0,
          topP,
          minP: minP ?? 0,
          repetitionPenalty: repetitionPenalty ?? 0,
          maxTokens,
        }),
        ...required,
      },
      signal,
    );
    responses.forEach((response, i) => {
      if (required.version !== undefined && response.version !== required.version) {
        throw versionMoved(handle.name, required.version, response.version);
      }
      crew.answeredBy(peer, response.version);
      draft.record(items[i], peer, response, independent);
    });
  });
}

/** One Score call: log p(text | question) of what was answered, under one peer. Equal texts are scored once. */
async function judge(
  { id, peer, items }: Step,
  { runId, round, recipe }: RoundPlan,
  draft: RoundDraft,
  crew: RoundCrew,
): Promise<void> {
  const spans = items.flatMap((index) =>
    draft.unjudged(index, peer).map((candidate) => ({ index, ...candidate })),
  );
  if (spans.length === 0) return;
  await crew.work(peer, async (handle, signal) => {
    const scored = spans.map(({ index, text, finished }, i) =>
      create(ScoreItemSchema, {
        itemId: String(i),
        question: draft.items[index].question,
        continuation: text,
        includeEnd: finished,
      }),
    );
    const requestId = `${runId}/${round}/${handle.name}/${id}`;
    const { results } = await handle.score(
      { requestId, items: scored, ...requiredVersion(recipe, crew, peer) },
      signal,
    );
    results.forEach(({ outcome }, i) => {
      const { index, text } = spans[i];
      if (outcome.case === 'likelihood') draft.recordLikelihood(index, peer, text, outcome.value.logProb);
    });
  });
}

/** In lock-step one version answers a whole round. Otherwise a peer may commit while the round is under way. */
function requiredVersion(recipe: Recipe, crew: RoundCrew, peer: number): { version?: bigint } {
  return recipe.rounds.maxStaleness === 0 ? { version: crew.version(peer) } : {};
}

function versionMoved(peer: string, wanted: bigint, found: bigint): ParleyError {
  return new ParleyError(
    'VERSION_MISMATCH',
    `Peer ${peer} answered with version ${found}, but the round began with ${wanted}; the round is asked again`,
  );
}
