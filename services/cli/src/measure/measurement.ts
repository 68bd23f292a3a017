import { canonicalAnswer, findAnswer, isSameAnswer, verifierGap } from '@parley/evaluation';
import type { AnswerOptions, LabelledQuestion, VerifierGap } from '@parley/evaluation';
import { seedFrom } from '@parley/pst';
import { askPeer } from './ask-peer.js';
import type { Answer, AskedPeer } from './ask-peer.js';
import { majorityVote } from './majority-vote.js';

/** One answer to one question, graded. */
export interface GradedAnswer {
  /** In canonical form; null where the text holds none. */
  answer: string | null;
  correct: boolean;
  /** Natural log-probability of the whole completion. */
  logProb: number;
  /** Length of the completion, in the peer's tokens. */
  tokens: number;
  /** Of the distributions its tokens were drawn from, nats per token. */
  meanEntropy: number;
}

/** Undefined where the peer failed to answer: such a question is left out, never counted as wrong. */
export type Graded = GradedAnswer | undefined;

/** What is asked of every peer. */
export interface MeasurementPlan {
  /** Answered greedily, each alone. */
  questions: readonly LabelledQuestion[];
  /** The first of the questions that are also sampled; 0 for none. */
  sampledQuestions: number;
  samples: number;
  sampleTemperature: number;
  maxTokens: number;
  /** Of the samples. The same seed asks the same of every version. */
  seed: bigint;
  /** How a final answer is found in a text. */
  answers: AnswerOptions;
}

/** How a measurement runs. */
export interface MeasurementContext {
  signal: AbortSignal;
  /** For one call of one peer. */
  deadlineMs: number;
  /** Called once for every answer. */
  onAnswer: () => void;
}

/** What one peer did. */
export interface PeerMeasurement {
  name: string;
  version: bigint;
  /** One a question. */
  greedy: readonly Graded[];
  /** One list a sampled question, without failed samples. */
  samples: readonly (readonly GradedAnswer[])[];
  /** Generator–verifier gap with the likelihood as verifier; undefined if nothing was sampled. */
  gap: VerifierGap | undefined;
  /** The same with the peer's own yes or no as verifier; undefined if it was not asked. */
  yesNoGap?: VerifierGap | undefined;
  /** Failed items by reason. */
  failures: Readonly<Record<string, number>>;
}

/** What a population did. */
export interface Measurement {
  peers: readonly PeerMeasurement[];
  /** The majority of the peers' greedy answers, one a question (see {@link majorityVote}). */
  vote: readonly Graded[];
  seconds: number;
}

/** How many answers a measurement asks for, for progress. */
export function answersOf(plan: MeasurementPlan, peers: number): number {
  return peers * (plan.questions.length + plan.sampledQuestions * plan.samples);
}

/**
 * Measures peers on questions with known answers: greedy answers without context, samples of some of the questions,
 * and the peers' vote. All peers work at the same time. Nothing that is asked here is ever trained on.
 */
export async function measure(
  peers: readonly AskedPeer[],
  plan: MeasurementPlan,
  context: MeasurementContext,
): Promise<Measurement> {
  const started = performance.now();
  const measured = await Promise.all(peers.map((peer) => measurePeer(peer, plan, context)));
  const vote = plan.questions.map((_, index) => majorityVote(measured.map(({ greedy }) => greedy[index])));
  return { peers: measured, vote, seconds: (performance.now() - started) / 1000 };
}

async function measurePeer(
  peer: AskedPeer,
  plan: MeasurementPlan,
  { signal, deadlineMs, onAnswer }: MeasurementContext,
): Promise<PeerMeasurement> {
  const failures: Record<string, number> = {};
  const grade = (answer: Answer | undefined, expected: string): Graded => {
    if (answer?.ok) return gradeAnswer(answer, expected, plan.answers);
    const reason = answer?.failure.reason ?? 'REMOTE_FAILURE';
    failures[reason] = (failures[reason] ?? 0) + 1;
    return undefined;
  };
  const ask = { peer, deadlineMs, signal, onAnswer };

  const greedy = await askPeer({
    ...ask,
    requestId: 'measure-greedy',
    items: plan.questions.map(({ question }, index) => ({ itemId: String(index), question })),
    sampling: { temperature: 0, topP: 1, maxTokens: plan.maxTokens },
  });
  const sampled = plan.questions.slice(0, plan.sampledQuestions);
  const samples = await askPeer({
    ...ask,
    requestId: 'measure-samples',
    items: sampled.flatMap(({ question, promptId }, index) =>
      Array.from({ length: plan.samples }, (_, sample) => ({
        itemId: `${index}/${sample}`,
        question,
        seed: seedFrom(plan.seed, 'measure', promptId, sample),
      })),
    ),
    sampling: { temperature: plan.sampleTemperature, topP: 1, maxTokens: plan.maxTokens },
  });
  const graded = sampled.map(({ answer }, index) =>
    Array.from({ length: plan.samples }, (_, sample) =>
      grade(samples.answers.get(`${index}/${sample}`), answer),
    ).filter((one) => one !== undefined),
  );
  return {
    name: peer.name,
    version: greedy.version,
    greedy: plan.questions.map(({ answer }, index) => grade(greedy.answers.get(String(index)), answer)),
    samples: graded,
    gap: likelihoodGap(graded),
    failures,
  };
}

/** Grades one completion. */
export function gradeAnswer(answer: Answer & { ok: true }, expected: string, options: AnswerOptions): GradedAnswer {
  const { text, logProb, completionTokens, meanEntropy } = answer.completion;
  const given = { logProb, tokens: completionTokens, meanEntropy };
  const found = findAnswer(text, options);
  if (found === null) return { answer: null, correct: false, ...given };
  return { answer: canonicalAnswer(found.answer), correct: isSameAnswer(found.answer, expected), ...given };
}

/** The gap with the completion's own log-likelihood as its score; questions without a sample take no part. */
function likelihoodGap(samples: readonly (readonly GradedAnswer[])[]): VerifierGap | undefined {
  const questions = samples
    .filter((list) => list.length > 0)
    .map((list) => list.map(({ correct, logProb }) => ({ correct, score: logProb })));
  return questions.length === 0 ? undefined : verifierGap(questions);
}
