import { FinishReason } from '@parley/contracts';
import type { RoundGenerated, RoundItem } from '@parley/contracts';
import type { Aggregate, AnsweredQuestion, PeerResponse, Recipe, RejectionReason } from '@parley/pst';

/**
 * A question of a round as the algorithm sees it: the answers that arrived, in the order in which they were given.
 * Failed ones are absent.
 *
 * @param peers - names of the run's peers
 */
export function toAnsweredQuestion(
  item: RoundItem,
  peers: readonly string[],
  context: Recipe['generation']['context'],
): AnsweredQuestion {
  const responses: PeerResponse[] = [];
  for (const peer of item.order) {
    const response = item.responses[peer];
    if (response.outcome.case !== 'completion') continue;
    const { text, logProb, completionTokens, finishReason } = response.outcome.value;
    responses.push({
      peer: peers[peer],
      text,
      answer: response.finalAnswer ?? null,
      logLikelihood: logProb,
      tokens: completionTokens,
      finished: finishReason === FinishReason.STOP,
      saw: context === 'sequential' ? responses.map((earlier) => earlier.peer) : [],
      ...(response.independent && { independentAnswer: response.independentFinalAnswer ?? null }),
    });
  }
  return { promptId: item.promptId, text: item.question, responses };
}

/** All questions of a round, and their aggregates, as {@link toAnsweredQuestion} and pst's `aggregateRound` made them. */
export function toAlgorithm(
  round: RoundGenerated,
  recipe: Recipe,
): { questions: AnsweredQuestion[]; aggregates: Aggregate[] } {
  const peers = round.peers.map((peer) => peer.name);
  const questions = round.items.map((item) => toAnsweredQuestion(item, peers, recipe.generation.context));
  const aggregates = round.items.map((item, i): Aggregate => {
    const { finalAnswer, responsePeer, margin = 0, accepted = false, rejection } = item.aggregate ?? {};
    const author = responsePeer === undefined ? undefined : peers[responsePeer];
    const chosen = questions[i].responses.findIndex((response) => response.peer === author);
    return {
      promptId: item.promptId,
      answer: finalAnswer ?? null,
      chosen: chosen < 0 ? null : chosen,
      margin,
      accepted,
      reason: accepted ? null : ((rejection || 'no-answer') as RejectionReason),
    };
  });
  return { questions, aggregates };
}
