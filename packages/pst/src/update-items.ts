import type { AnchorScope, Recipe } from './recipe.js';
import { createRandom, seedFrom } from './random.js';
import type { Aggregate, AnsweredQuestion, PeerResponse, RejectionReason } from './round.js';
import { weighBatch, type WeighedAnswer } from './weights.js';

/** One training item: weight · CE(target | question) + anchorWeight · KL(frozen ‖ current on the target). */
export interface UpdateItem {
  readonly promptId: string;
  readonly question: string;
  /** Text to learn, without end token. */
  readonly target: string;
  /** Finite, within the recipe's bounds. 0: the item only anchors. */
  readonly weight: number;
  readonly anchorWeight: number;
}

/** Why one peer does not train on one question of its round. */
export type SkipReason =
  RejectionReason | 'no-response' | 'author' | 'zero-weight' | 'own-unfinished' | 'own-empty';

/** What one peer makes of one question, item or not; for the record of the round. */
export interface ItemOutcome {
  readonly promptId: string;
  /** nPMI used; null where none was defined or needed. */
  readonly pmi: number | null;
  /** CE and KL weights; both 0 where the question was skipped. */
  readonly weight: number;
  readonly anchorWeight: number;
  /** Null exactly when the question is one of the update's items. */
  readonly skipped: SkipReason | null;
}

/** One peer's update of one round. */
export interface PeerUpdate {
  readonly peer: string;
  /** In the order of the round's questions; may be empty. */
  readonly items: readonly UpdateItem[];
  /** One per question, in the same order. */
  readonly outcomes: readonly ItemOutcome[];
  readonly baseline: number;
  readonly recentMedians: readonly number[];
}

/** A scored round as one peer sees it. */
export interface ScoredRound {
  readonly peer: string;
  readonly questions: readonly AnsweredQuestion[];
  /** One per question, from {@link aggregateRound}. */
  readonly aggregates: readonly Aggregate[];
  /** nPMI of this peer's response, one per question; null where undefined or not scored. */
  readonly pmi: readonly (number | null)[];
  /** {@link PeerUpdate.recentMedians} of this peer's previous round; empty at first. */
  readonly recentMedians?: readonly number[];
  /** Seed of the round; used by ablation `shuffled` alone. */
  readonly seed: bigint;
}

/** True when a peer's PMI on a question is used, so that a scorer need not compute the others. */
export function needsPmi(
  recipe: Recipe,
  peer: string,
  question: AnsweredQuestion,
  aggregate: Aggregate,
): boolean {
  if (recipe.weight.kind === 'uniform' || recipe.weight.kind === 'disagree') return false;
  if (!aggregate.accepted || !question.responses.some((response) => response.peer === peer)) return false;
  return recipe.weight.author === 'pmi' || question.responses[aggregate.chosen!].peer !== peer;
}

/**
 * The weighted items of one peer's update [1.5]. On an accepted question: the target with its weight. Where the
 * anchor applies, KL to the frozen self on that same target; where there is nothing but the anchor, on the peer's
 * own response, which is what it should go on saying. Pure: the same round gives the same update.
 * Throws a RangeError when the lists differ in length.
 */
export function buildUpdate(recipe: Recipe, round: ScoredRound): PeerUpdate {
  const { questions, aggregates, pmi, peer } = round;
  if (aggregates.length !== questions.length || pmi.length !== questions.length) {
    throw new RangeError(
      `round of ${questions.length} questions has ${aggregates.length} aggregates and ${pmi.length} PMI for ${peer}`,
    );
  }
  const cases = questions.map((question, i) => {
    const own = question.responses.find((response) => response.peer === peer);
    return { question, own, aggregate: aggregates[i], pmi: pmi[i]! };
  });
  const trained = cases.filter(({ own, aggregate }) => own !== undefined && aggregate.accepted);
  const batch = weighBatch(
    recipe.weight,
    trained.map(({ question, own, aggregate, pmi }): WeighedAnswer => ({
      pmi,
      disagrees: own!.answer !== aggregate.answer,
      author: question.responses[aggregate.chosen!] === own,
    })),
    {
      recentMedians: round.recentMedians ?? [],
      random: createRandom(seedFrom(round.seed, 'weights', peer)),
    },
  );
  const weights = new Map(trained.map(({ question }, i) => [question, batch.weights[i]!]));

  const items: UpdateItem[] = [];
  const outcomes = cases.map(({ question, own, aggregate, pmi }): ItemOutcome => {
    const made = makeItem(recipe, question, own, aggregate, weights.get(question));
    if (typeof made === 'string') {
      return { promptId: question.promptId, pmi, weight: 0, anchorWeight: 0, skipped: made };
    }
    items.push(made);
    return {
      promptId: question.promptId,
      pmi,
      weight: made.weight,
      anchorWeight: made.anchorWeight,
      skipped: null,
    };
  });
  return { peer, items, outcomes, baseline: batch.baseline, recentMedians: batch.recentMedians };
}

function makeItem(
  recipe: Recipe,
  question: AnsweredQuestion,
  own: PeerResponse | undefined,
  aggregate: Aggregate,
  weight: number | null | undefined,
): UpdateItem | SkipReason {
  if (own === undefined) return 'no-response';
  const agreed = aggregate.accepted && own.answer === aggregate.answer;
  const anchorWeight = anchors(recipe.anchor.on, aggregate.accepted, agreed) ? recipe.anchor.weight : 0;
  const learns = aggregate.accepted && (weight ?? 0) > 0;
  if (!learns && anchorWeight === 0) {
    if (!aggregate.accepted) return aggregate.reason ?? 'no-answer';
    return weight === null ? 'author' : 'zero-weight';
  }
  const source = learns && recipe.target === 'aggregate' ? question.responses[aggregate.chosen!] : own;
  if (!source.finished) return 'own-unfinished';
  if (source.text.trim() === '') return 'own-empty';
  return {
    promptId: question.promptId,
    question: question.text,
    target: source.text,
    weight: learns ? weight! : 0,
    anchorWeight,
  };
}

function anchors(on: AnchorScope, accepted: boolean, agreed: boolean): boolean {
  switch (on) {
    case 'none':
      return false;
    case 'all':
      return true;
    case 'agreed':
      return agreed;
    case 'abstained':
      return !accepted;
    case 'agreed-and-abstained':
      return agreed || !accepted;
  }
}
