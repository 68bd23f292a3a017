import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { ItemScoreSchema, PeerScoresSchema, RoundScoredSchema } from '@parley/contracts';
import type { ItemScore, Likelihood, RoundGenerated, RoundScored } from '@parley/contracts';
import { createRoundCrew, toAlgorithm } from '@parley/mesh';
import type { PeerHandle } from '@parley/mesh';
import { buildUpdate, combinePmi, normalizedPmi, seedFrom } from '@parley/pst';
import type { ItemOutcome, Recipe } from '@parley/pst';
import { likelihoodId, planScores } from './score-plan.js';
import type { FindAnswer, ScorePlan, Wanted, WantedPmi } from './score-plan.js';

/** Everything the scores of a round depend on, beside the peers' weights. */
export interface ScoringTask {
  round: RoundGenerated;
  recipe: Recipe;
  /** The run's. */
  seed: bigint;
  /** Names of peers that a guard has stopped: they are neither scored nor trained. */
  stopped: ReadonlySet<string>;
  /** The scores of the round before, for a running baseline. */
  previous: RoundScored | undefined;
}

/** What scoring needs from outside. */
export interface ScoringTools {
  peer: (name: string) => PeerHandle;
  findAnswer: FindAnswer;
  /** Monotonic. */
  nowMs: () => number;
  /** Since the epoch. */
  wallClockMs: () => number;
}

/** Spans in one Score call. */
const SPANS_A_CALL = 64;

/**
 * Scores a round: PMI, weights, and what each peer is to learn from it. A likelihood that a peer cannot give (an item
 * that failed) leaves the PMI unset. Where the run has a quorum and a peer is lost, what depends on it gets weight 0
 * and an unset PMI; without a quorum this waits for the peer.
 *
 * @throws ParleyError what a peer refused for good, or the signal's reason
 */
export async function scoreRound(
  task: ScoringTask,
  tools: ScoringTools,
  signal: AbortSignal,
): Promise<RoundScored> {
  const startMs = tools.nowMs();
  const { round, recipe, seed, stopped, previous } = task;
  const names = round.peers.map(({ name }) => name);
  const algorithm = toAlgorithm(round, recipe);
  const learning = new Set(
    round.peers
      .filter(({ name, missing }) => missing === undefined && !stopped.has(name))
      .map(({ name }) => name),
  );
  const plan = planScores(round, recipe, algorithm, learning, tools.findAnswer);
  const { scores, versions, lost } = await askScores(task, plan, tools, signal);

  const peers = round.peers.map(({ name }, index) => {
    const wanted = new Map(plan.pmi.filter(({ peer }) => peer === name).map((pmi) => [pmi.item, pmi]));
    const measured = round.items.map((_, item) => measure(wanted.get(item), scores));
    const update = buildUpdate(recipe, {
      peer: name,
      ...algorithm,
      pmi: measured.map(({ pmi }) => pmi),
      recentMedians: previous?.peers[index]?.recentMedians ?? [],
      seed: seedFrom(seed, 'score', Number(round.round)),
    });
    const learns = (item: number) => {
      const scorers = wanted.get(item)?.scorers ?? [];
      return (
        learning.has(name) && !lost.has(name) && !(scorers.length > 0 && scorers.every((q) => lost.has(q)))
      );
    };
    return create(PeerScoresSchema, {
      peer: name,
      items: update.outcomes.map((outcome, item) => toItemScore(measured[item], outcome, learns(item))),
      baseline: update.baseline,
      recentMedians: [...update.recentMedians],
    });
  });
  return create(RoundScoredSchema, {
    runId: round.runId,
    round: round.round,
    peers,
    seconds: (tools.nowMs() - startMs) / 1000,
    completeTime: timestampFromMs(tools.wallClockMs()),
    // In the order of the peers, not of their answers: the same scores are the same bytes.
    scorerVersions: Object.fromEntries([...versions].sort(([a], [b]) => names.indexOf(a) - names.indexOf(b))),
  });
}

type Scores = ReadonlyMap<string, ReadonlyMap<string, Likelihood>>;

/** Asks all scorers at once, each for one batch after another. */
async function askScores(
  { round, recipe }: ScoringTask,
  plan: ScorePlan,
  tools: ScoringTools,
  signal: AbortSignal,
): Promise<{ scores: Scores; versions: ReadonlyMap<string, bigint>; lost: ReadonlySet<string> }> {
  const present = round.peers.filter((peer) => peer.missing === undefined).map((peer) => peer.name);
  const scores = new Map(present.map((name) => [name, new Map<string, Likelihood>()]));
  const versions = new Map<string, bigint>();
  const broken = new AbortController();
  const handles = present.map(tools.peer);
  const crew = createRoundCrew(handles, recipe.rounds.quorum, AbortSignal.any([signal, broken.signal]));
  const ask = async (peer: number): Promise<void> => {
    const wanted = plan.likelihoods.filter(({ scorer }) => scorer === present[peer]);
    for (const [part, batch] of cut(wanted, SPANS_A_CALL).entries()) {
      await crew.work(peer, async (handle, crewSignal) => {
        const requestId = `${round.runId}/${round.round}/${handle.name}/score-${part}`;
        const reference = recipe.scorer === 'reference';
        const call = { requestId, items: batch.map(({ request }) => request), reference };
        const { results, version } = await handle.score(call, crewSignal);
        const lowest = versions.get(handle.name);
        if (lowest === undefined || version < lowest) versions.set(handle.name, version);
        for (const { itemId, outcome } of results) {
          if (outcome.case === 'likelihood') scores.get(handle.name)!.set(itemId, outcome.value);
        }
      });
    }
  };
  try {
    await Promise.all(
      present.map((_, peer) =>
        ask(peer).catch((error: unknown) => {
          broken.abort(error);
          throw error;
        }),
      ),
    );
    return { scores, versions, lost: new Set(present.filter((_, peer) => crew.missing(peer) !== undefined)) };
  } finally {
    crew.dismiss();
  }
}

interface Measured {
  /** Nats a token. */
  pmi: number | null;
  conditional: number;
  marginal: number;
  tokens: number;
}

/** One PMI; the means over the scorers where there are several. */
function measure(wanted: WantedPmi | undefined, scores: Scores): Measured {
  const found = (wanted?.scorers ?? []).flatMap((scorer) => {
    const known = scores.get(scorer);
    const conditional = known?.get(likelihoodId(wanted!.item, wanted!.peer));
    const marginal = known?.get(likelihoodId(wanted!.item, null));
    if (!conditional || !marginal) return [];
    return { conditional: conditional.logProb, marginal: marginal.logProb, tokens: conditional.tokens };
  });
  const mean = (value: (score: (typeof found)[number]) => number) =>
    found.reduce((sum, score) => sum + value(score), 0) / found.length;
  return {
    pmi: combinePmi(found.map(normalizedPmi)),
    conditional: mean((score) => score.conditional),
    marginal: mean((score) => score.marginal),
    tokens: Math.round(mean((score) => score.tokens)),
  };
}

function toItemScore(measured: Measured, outcome: ItemOutcome, learns: boolean): ItemScore {
  const { pmi, conditional, marginal, tokens } = measured;
  return create(ItemScoreSchema, {
    ...(pmi !== null && {
      conditionalLogProb: conditional,
      marginalLogProb: marginal,
      tokens,
      normalizedPmi: pmi,
    }),
    weight: learns ? outcome.weight : 0,
    anchorWeight: learns ? outcome.anchorWeight : 0,
  });
}

function cut(wanted: readonly Wanted[], size: number): Wanted[][] {
  return Array.from({ length: Math.ceil(wanted.length / size) }, (_, i) =>
    wanted.slice(i * size, (i + 1) * size),
  );
}
