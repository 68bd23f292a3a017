import { heaviest, massByAnswer, NOTHING, type Aggregator, type Finding } from './ballot.js';
import type { AggregateRecipe, AggregateStrategy, GuardRecipe } from './recipe.js';
import type { Aggregate, AnsweredQuestion, RejectionReason } from './round.js';
import { gateQuestion } from './guards.js';
import { trustVote } from './trust.js';

/** The last peer's answer stands [reported]. Margin: share of the responses that agree with it. */
const last: Aggregator = (questions) =>
  questions.map(({ responses }) => {
    const final = responses.at(-1);
    if (final === undefined || final.answer === null) return NOTHING;
    const agreeing = responses.filter((response) => response.answer === final.answer).length;
    return { answer: final.answer, chosen: responses.length - 1, margin: agreeing / responses.length };
  });

/**
 * Majority of the final answers; margin: their share of all responses, so that an unparseable one counts against
 * every answer. Ties go to the answer with the greater total likelihood, then to the smaller text.
 */
const vote: Aggregator = (questions) =>
  questions.map(({ responses }) => {
    const likelihood = massByAnswer(responses, (response) => response.logLikelihood);
    const votes = massByAnswer(responses, () => 0);
    const finding = heaviest(responses, votes, likelihood);
    if (finding.answer === null) return finding;
    const supporters = responses.filter((response) => response.answer === finding.answer).length;
    return { ...finding, margin: supporters / responses.length };
  });

/** Each peer votes with the likelihood of its own response; margin: share of the total. */
const confidence: Aggregator = (questions) =>
  questions.map(({ responses }) =>
    heaviest(
      responses,
      massByAnswer(responses, (response) => response.logLikelihood),
    ),
  );

/** The four strategies of DESIGN 1.2 behind one type. */
export const AGGREGATORS: Readonly<Record<AggregateStrategy, Aggregator>> = Object.freeze({
  last,
  vote,
  confidence,
  trust: trustVote,
});

/**
 * Aggregates a round: strategy, then gates, then guards that look at one question. Entries match `questions`.
 * Independent of the order of questions; all strategies but `last` are independent of the order of responses.
 * Throws a RangeError when `trust` lacks the likelihoods of a question.
 */
export function aggregateRound(
  recipe: { readonly aggregate: AggregateRecipe; readonly guards: GuardRecipe },
  questions: readonly AnsweredQuestion[],
  seed: bigint,
): Aggregate[] {
  const findings = AGGREGATORS[recipe.aggregate.strategy](questions, recipe.aggregate, seed);
  return findings.map((finding, i) => {
    const question = questions[i];
    const reason = rejection(recipe, question, finding);
    return { promptId: question.promptId, ...finding, accepted: reason === null, reason };
  });
}

function rejection(
  recipe: { readonly aggregate: AggregateRecipe; readonly guards: GuardRecipe },
  question: AnsweredQuestion,
  { answer, chosen, margin }: Finding,
): RejectionReason | null {
  if (answer === null) return 'no-answer';
  if (chosen === null || !question.responses[chosen].finished) return 'unfinished';
  if (!(margin >= recipe.aggregate.minMargin)) return 'below-margin';
  const verdict = gateQuestion(recipe.guards, question.responses, answer);
  if (verdict === null) return null;
  return verdict.guard === 'independentSupport' ? 'no-independent-support' : 'agreement-gate';
}
