import { create } from '@bufbuild/protobuf';
import {
  FinishReason,
  TrainingSettingsSchema,
  UpdateItemSchema,
  WeightedUpdateSchema,
} from '@parley/contracts';
import type { WeightedUpdate } from '@parley/contracts';
import { extractAnswer } from '@parley/evaluation';
import { buildUpdate, seedFrom } from '@parley/pst';
import type { AnsweredQuestion, Recipe } from '@parley/pst';
import { askPeer } from '../measure/ask-peer.js';
import type { ConnectedPeer } from '../measure/peer-clients.js';
import { applyToPeer } from './apply-to-peer.js';
import { UNTRAINED } from './train-cell.js';
import type { Training } from './train-cell.js';

/** A question with its right solution. */
export interface SolvedQuestion {
  promptId: string;
  question: string;
  solution: string;
}

/** What training on labels needs. */
export interface LabelsPlan {
  runId: string;
  recipe: Recipe;
  seed: bigint;
  questions: readonly SolvedQuestion[];
  signal: AbortSignal;
}

const CALL_DEADLINE_MS = 600_000;
/** Stands for the labels where an author is named. */
const ORACLE = 'oracle';

/**
 * The ceiling of a study: the recipe's weights, anchors and training settings with the right solution as every aggregate. A
 * mesh never sees a label, so this goes past it, to the peers themselves.
 */
export async function trainOnLabels(peers: readonly ConnectedPeer[], plan: LabelsPlan): Promise<Training> {
  const started = performance.now();
  const { questions, recipe } = plan;
  const { promptsPerRound } = recipe.rounds;
  const updates = { published: 0, applied: 0, items: 0, optimizerSteps: 0 };
  let rounds = 0;
  for (; rounds * promptsPerRound < questions.length; rounds++) {
    const part = questions.slice(rounds * promptsPerRound, (rounds + 1) * promptsPerRound);
    await Promise.all(
      peers.map(async (peer) => {
        const update = await labelUpdate(peer, plan, rounds, part);
        const { committed } = await applyToPeer(peer, update, plan.signal);
        updates.published++;
        updates.applied++;
        updates.items += update.items.length;
        updates.optimizerSteps += committed?.report?.steps ?? 0;
      }),
    );
  }
  return { ...UNTRAINED, rounds, updates, accepted: 1, trainSeconds: (performance.now() - started) / 1000 };
}

async function labelUpdate(
  peer: ConnectedPeer,
  { runId, recipe, seed, signal }: LabelsPlan,
  round: number,
  questions: readonly SolvedQuestion[],
): Promise<WeightedUpdate> {
  const answered = await answerAlone(peer, recipe, questions, `${runId}/${round}`, signal);
  const forms = recipe.aggregate.answerForms;
  const update = buildUpdate(recipe, {
    peer: peer.name,
    questions: answered,
    aggregates: questions.map(({ promptId, solution }, i) => ({
      promptId,
      answer: extractAnswer(solution, { forms }),
      chosen: answered[i].responses.length - 1,
      margin: 1,
      accepted: true,
      reason: null,
    })),
    pmi: questions.map(() => null),
    seed: seedFrom(seed, 'score', round),
  });
  return create(WeightedUpdateSchema, {
    updateId: `${runId}/${round}/${peer.name}`,
    runId,
    round: BigInt(round),
    peer: peer.name,
    items: update.items.map((item) => create(UpdateItemSchema, item)),
    training: create(TrainingSettingsSchema, {
      ...recipe.training,
      anchorReference: recipe.anchor.reference,
    }),
    seed: seedFrom(seed, 'update', round, peer.name),
  });
}

/** Each question with the peer's own answer and, behind it, the right one. */
async function answerAlone(
  peer: ConnectedPeer,
  recipe: Recipe,
  questions: readonly SolvedQuestion[],
  requestId: string,
  signal: AbortSignal,
): Promise<AnsweredQuestion[]> {
  const { answers } = await askPeer({
    peer,
    requestId,
    items: questions.map(({ promptId, question }) => ({ itemId: promptId, question })),
    sampling: { temperature: 0, topP: 1, maxTokens: recipe.generation.maxTokens },
    deadlineMs: CALL_DEADLINE_MS,
    signal,
    onAnswer: () => undefined,
  });
  const { answerForms: forms } = recipe.aggregate;
  return questions.map(({ promptId, question, solution }) => {
    const answer = answers.get(promptId);
    const own = !answer?.ok
      ? []
      : [
          {
            peer: peer.name,
            text: answer.completion.text,
            answer: extractAnswer(answer.completion.text, { forms }),
            logLikelihood: answer.completion.logProb,
            tokens: answer.completion.completionTokens,
            finished: answer.completion.finishReason === FinishReason.STOP,
            saw: [],
          },
        ];
    const right = {
      peer: ORACLE,
      text: solution,
      answer: extractAnswer(solution, { forms }),
      logLikelihood: 0,
      tokens: 0,
      finished: true,
      saw: [],
    };
    return { promptId, text: question, responses: [...own, right] };
  });
}
