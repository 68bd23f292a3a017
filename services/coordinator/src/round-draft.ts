import { create } from '@bufbuild/protobuf';
import {
  AggregateSchema,
  ContributionSchema,
  FinishReason,
  PeerResponseSchema,
  RoundItemSchema,
} from '@parley/contracts';
import type { Contribution, GenerateResponse, ItemFailure, Prompt, RoundItem } from '@parley/contracts';
import { toAnsweredQuestion } from '@parley/mesh';
import { aggregateRound, orderPeers, seedFrom } from '@parley/pst';
import type { AnswerForm, AnsweredQuestion, LikelihoodRow, Recipe } from '@parley/pst';
import type { TraceHeaders } from '@parley/runtime';

/** The final answer of a text in canonical form, or null; the first of the forms that is there. */
export type ExtractAnswer = (text: string, forms: readonly AnswerForm[]) => string | null;

/** A question with its place in the run. */
export interface QueuedPrompt {
  prompt: Prompt;
  /** Stream sequence. */
  sequence: bigint;
  /** Position among the run's prompts, from 0. */
  index: number;
  /** Headers of its message: the trace that it belongs to. */
  trace?: TraceHeaders;
}

/** What the answers of a round depend on beside the peers' versions. */
export interface DraftOptions {
  recipe: Recipe;
  /** The run's. */
  seed: bigint;
  /** From 0. */
  round: number;
  /** Names of the run's peers, whose index is the speaker. */
  peers: readonly string[];
  prompts: readonly QueuedPrompt[];
  extractAnswer: ExtractAnswer;
}

/** A text that some peer gave as an answer. */
export interface Candidate {
  text: string;
  /** It ended by itself. */
  finished: boolean;
}

/** A round while it is being answered. Peers and questions are referred to by index. */
export interface RoundDraft {
  readonly items: readonly RoundItem[];
  /** What a peer sees of the earlier answers to a question. */
  context(item: number, peer: number): Contribution[];
  /** Takes an answer, or an independent one. */
  record(item: number, peer: number, response: GenerateResponse, independent: boolean): void;
  /** The distinct texts whose likelihood under a peer is not known yet. */
  unjudged(item: number, peer: number): Candidate[];
  recordLikelihood(item: number, peer: number, text: string, logProb: number): void;
  /** Discards whatever a peer said in this round. */
  drop(peer: number, cause: ItemFailure): void;
  /** Makes the aggregates, when all answers are there. */
  aggregate(): void;
}

export function createRoundDraft(options: DraftOptions): RoundDraft {
  const { recipe, seed, round, peers, prompts, extractAnswer } = options;
  const sequential = recipe.generation.context === 'sequential';
  const indices = peers.map((_, peer) => peer);
  const items = prompts.map(({ prompt: { promptId, question }, index }) =>
    create(RoundItemSchema, {
      promptId,
      question,
      order: orderPeers(recipe.order, indices, { index, promptId, seed }),
      responses: indices.map(() => create(PeerResponseSchema)),
    }),
  );
  /** By item, peer and text. */
  const likelihoods = items.map(() => indices.map(() => new Map<string, number>()));

  const question = (item: RoundItem, i: number): AnsweredQuestion => {
    const answered = toAnsweredQuestion(item, peers, recipe.generation.context);
    if (recipe.aggregate.strategy !== 'trust') return answered;
    const rows = likelihoods[i].map((known, peer): LikelihoodRow => {
      const logLikelihoods = answered.responses.map((response) => known.get(response.text) ?? null);
      return { peer: peers[peer], logLikelihoods };
    });
    return {
      ...answered,
      likelihoods: rows.filter((row) => row.logLikelihoods.some((value) => value !== null)),
    };
  };

  return {
    items,
    context(item, peer) {
      const { order, responses } = items[item];
      return order.slice(0, sequential ? order.indexOf(peer) : 0).flatMap((speaker) => {
        const { outcome } = responses[speaker];
        if (outcome.case !== 'completion') return [];
        return [create(ContributionSchema, { peer: peers[speaker], speaker, text: outcome.value.text })];
      });
    },
    record(item, peer, { outcome }, independent) {
      const response = items[item].responses[peer];
      const forms = recipe.aggregate.answerForms;
      const finalAnswer = outcome.case === 'completion' ? extractAnswer(outcome.value.text, forms) : null;
      if (!independent) {
        response.outcome = outcome;
        if (finalAnswer !== null) response.finalAnswer = finalAnswer;
      } else if (outcome.case === 'completion') {
        response.independent = outcome.value;
        if (finalAnswer !== null) response.independentFinalAnswer = finalAnswer;
      }
      // What a peer said of its own text when it wrote it, having seen nothing else, need not be asked again.
      if (!sequential && outcome.case === 'completion') {
        likelihoods[item][peer].set(outcome.value.text, outcome.value.logProb);
      }
    },
    unjudged(item, peer) {
      const known = likelihoods[item][peer];
      const texts = items[item].responses.flatMap(({ outcome }): [string, boolean][] =>
        outcome.case === 'completion'
          ? [[outcome.value.text, outcome.value.finishReason === FinishReason.STOP]]
          : [],
      );
      return [...new Map(texts)].flatMap(([text, finished]) => (known.has(text) ? [] : [{ text, finished }]));
    },
    recordLikelihood(item, peer, text, logProb) {
      likelihoods[item][peer].set(text, logProb);
    },
    drop(peer, cause) {
      items.forEach((item, i) => {
        item.responses[peer] = create(PeerResponseSchema, { outcome: { case: 'failure', value: cause } });
        likelihoods[i][peer].clear();
      });
    },
    aggregate() {
      const questions = items.map(question);
      const aggregates = aggregateRound(recipe, questions, seedFrom(seed, 'aggregate', round));
      aggregates.forEach(({ answer, chosen, margin, accepted, reason }, i) => {
        const author = chosen === null ? undefined : questions[i].responses[chosen].peer;
        items[i].aggregate = create(AggregateSchema, {
          strategy: recipe.aggregate.strategy,
          margin,
          accepted,
          rejection: reason ?? '',
          ...(answer !== null && { finalAnswer: answer }),
          ...(author !== undefined && { responsePeer: peers.indexOf(author) }),
        });
      });
    },
  };
}
