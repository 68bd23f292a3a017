import { create } from '@bufbuild/protobuf';
import { ContributionSchema, ScoreItemSchema } from '@parley/contracts';
import type { RoundGenerated, ScoreItem } from '@parley/contracts';
import { needsPmi } from '@parley/pst';
import type { Aggregate, AnswerForm, AnsweredQuestion, Recipe } from '@parley/pst';
import { ParleyError } from '@parley/runtime';

/** Where the final answer stands in a text, or null; the first of the forms that is there. */
export type FindAnswer = (
  text: string,
  forms: readonly AnswerForm[],
) => { prefix: string; answer: string } | null;

/** The part of a target that is scored. */
export interface Span {
  prefix: string;
  continuation: string;
  includeEnd: boolean;
}

/** One likelihood that is wanted. */
export interface Wanted {
  /** Name of the peer that is asked. */
  scorer: string;
  /** Index of the question in the round. */
  item: number;
  /** Name of the peer whose answer is shown, or `null` for the bare question. */
  given: string | null;
  request: ScoreItem;
}

/** A PMI that is wanted: how much one peer's answer to one question said about the target. */
export interface WantedPmi {
  /** Name of the peer that answered. */
  peer: string;
  item: number;
  /** Names of the peers under whose likelihood it is taken. */
  scorers: readonly string[];
}

/** What has to be asked to score a round. */
export interface ScorePlan {
  pmi: WantedPmi[];
  /** Each likelihood once, in the order of the questions. */
  likelihoods: Wanted[];
}

/**
 * Works out which likelihoods the PMI of a round takes: log q(a | x, rₖ) for each peer k, and log q(a | x) once.
 *
 * @param learning - names of the peers that answered and still learn
 * @throws ParleyError REQUEST_INVALID for an accepted target in which the recipe's forms find no final answer to score
 */
export function planScores(
  round: RoundGenerated,
  recipe: Recipe,
  { questions, aggregates }: { questions: readonly AnsweredQuestion[]; aggregates: readonly Aggregate[] },
  learning: ReadonlySet<string>,
  findAnswer: FindAnswer,
): ScorePlan {
  const speakers = new Map(round.peers.map(({ name }, speaker) => [name, speaker]));
  const present = round.peers.filter((peer) => peer.missing === undefined).map((peer) => peer.name);
  const pmi: WantedPmi[] = [];
  const likelihoods = new Map<string, Wanted>();
  questions.forEach((question, item) => {
    const aggregate = aggregates[item];
    const target = aggregate.chosen === null ? undefined : question.responses[aggregate.chosen];
    if (target === undefined) return;
    for (const { peer, text } of question.responses) {
      if (!learning.has(peer) || !needsPmi(recipe, peer, question, aggregate)) continue;
      const scorers = scorersOf(recipe, peer, target.peer, present);
      pmi.push({ peer, item, scorers });
      const span = spanOf(recipe, question.promptId, target.text, findAnswer);
      for (const scorer of scorers) {
        for (const given of [null, peer]) {
          const itemId = likelihoodId(item, given);
          const key = `${scorer} ${itemId}`;
          if (likelihoods.has(key)) continue;
          const context =
            given === null ? [] : [create(ContributionSchema, { peer, speaker: speakers.get(peer)!, text })];
          const request = create(ScoreItemSchema, { itemId, question: question.text, context, ...span });
          likelihoods.set(key, { scorer, item, given, request });
        }
      }
    }
  });
  return { pmi, likelihoods: [...likelihoods.values()] };
}

/** Names one likelihood among those of a scorer. */
export function likelihoodId(item: number, given: string | null): string {
  return given === null ? `${item}` : `${item}/${given}`;
}

function scorersOf(
  recipe: Recipe,
  peer: string,
  author: string,
  present: readonly string[],
): readonly string[] {
  switch (recipe.scorer) {
    case 'self':
    case 'reference':
      return [peer];
    case 'aggregator':
      return [author];
    case 'mean-of-peers':
      return present;
  }
}

function spanOf(
  { scoredSpan, aggregate: { answerForms } }: Recipe,
  promptId: string,
  text: string,
  findAnswer: FindAnswer,
): Span {
  if (scoredSpan === 'full') return { prefix: '', continuation: text, includeEnd: true };
  const found = findAnswer(text, answerForms);
  if (found === null) {
    throw new ParleyError(
      'REQUEST_INVALID',
      `The target of prompt "${promptId}" has no final answer of the forms ${answerForms.join(', ')}; score the round ` +
        "with the recipe that it was made with, or with scored_span 'full'",
      { details: { prompt_id: promptId } },
    );
  }
  return { prefix: found.prefix, continuation: found.answer, includeEnd: false };
}
