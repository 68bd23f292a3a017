import { canonicalAnswer, fillTemplate, findAnswer, isRightAnswer, verifierGap } from '@parley/evaluation';
import type {
  AnswerOptions,
  EqualityOptions,
  LabelledQuestion,
  ScoredSample,
  VerificationLayout,
  VerifierGap,
} from '@parley/evaluation';
import { seedFrom } from '@parley/pst';
import { askPeer, requireOneVersion } from './ask-peer.js';
import type { Answer, AskedPeer } from './ask-peer.js';
import { judgeResponses } from './judge-responses.js';
import type { JudgeOptions } from './judge-responses.js';
import { majorityVote } from './majority-vote.js';

/** One answer to one question, graded. */
export interface GradedAnswer {
  /** In canonical form; null where the text holds none. */
  answer: string | null;
  /** The same as the peer wrote it. */
  written?: string;
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

/** What judges a peer's own samples: the likelihood it gave them, or whether it says that they are right. */
export type Verifier = 'likelihood' | 'yes-no';

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
  /** How close numbers must be; see `isRightAnswer` of `@parley/evaluation`. */
  tolerance?: number;
  /** What a peer is asked, around `{question}`; the bare question unless given. */
  promptTemplate?: string;
  /** The likelihood alone unless given; it costs nothing and is always there. */
  verifiers?: readonly Verifier[];
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
  /** The same with its yes or no as verifier; undefined if it was not asked. */
  yesNo?: YesNoMeasurement;
  /** Failed items by reason. */
  failures: Readonly<Record<string, number>>;
}

/** What a peer's own yes or no about its samples comes to. */
export interface YesNoMeasurement {
  /** Over the samples that it judged; undefined if there are none. */
  gap: VerifierGap | undefined;
  /** How it was asked. */
  layout: VerificationLayout;
  judged: number;
  /** Samples that it could not judge, by reason. */
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
  const samples = plan.sampledQuestions * plan.samples;
  return peers * (plan.questions.length + samples * (asksYesNo(plan) ? 2 : 1));
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
  const grade = (answer: Answer | undefined, expected: LabelledQuestion): Graded => {
    if (answer?.ok) return gradeAnswer(answer, expected, plan);
    const reason = answer?.failure.reason ?? 'REMOTE_FAILURE';
    failures[reason] = (failures[reason] ?? 0) + 1;
    return undefined;
  };
  const { promptTemplate } = plan;
  const asked = (question: string): string =>
    promptTemplate === undefined ? question : fillTemplate(promptTemplate, { question });
  const ask = { peer, deadlineMs, signal, onAnswer };

  const greedy = await askPeer({
    ...ask,
    requestId: 'measure-greedy',
    items: plan.questions.map(({ question }, index) => ({
      itemId: String(index),
      question: asked(question),
    })),
    sampling: { temperature: 0, topP: 1, maxTokens: plan.maxTokens },
  });
  const sampled = plan.questions.slice(0, plan.sampledQuestions);
  const samples = await askPeer({
    ...ask,
    requestId: 'measure-samples',
    items: sampled.flatMap(({ question, promptId }, index) =>
      Array.from({ length: plan.samples }, (_, sample) => ({
        itemId: `${index}/${sample}`,
        question: asked(question),
        seed: seedFrom(plan.seed, 'measure', promptId, sample),
      })),
    ),
    sampling: { temperature: plan.sampleTemperature, topP: 1, maxTokens: plan.maxTokens },
  });
  if (samples.answers.size > 0) requireOneVersion(peer.name, [greedy.version, samples.version]);
  const given = sampled.map((question, index) =>
    Array.from({ length: plan.samples }, (_, sample) => {
      const answer = samples.answers.get(`${index}/${sample}`);
      const graded = grade(answer, question);
      return graded && answer?.ok ? [{ graded, text: answer.completion.text }] : [];
    }).flat(),
  );
  const graded = given.map((list) => list.map((sample) => sample.graded));
  return {
    name: peer.name,
    version: greedy.version,
    greedy: plan.questions.map((question, index) => grade(greedy.answers.get(String(index)), question)),
    samples: graded,
    gap: gapOf(graded.map((list) => list.map(({ correct, logProb }) => ({ correct, score: logProb })))),
    ...(asksYesNo(plan) && {
      yesNo: await yesNoMeasurement(given, sampled, { ...ask, version: samples.version }),
    }),
    failures,
  };
}

function asksYesNo({ verifiers, sampledQuestions, samples }: MeasurementPlan): boolean {
  return (verifiers?.includes('yes-no') ?? false) && sampledQuestions * samples > 0;
}

/** Grades one completion. */
export function gradeAnswer(
  answer: Answer & { ok: true },
  question: LabelledQuestion,
  { answers, tolerance }: MeasurementPlan,
): GradedAnswer {
  const { text, logProb, completionTokens, meanEntropy } = answer.completion;
  const given = { logProb, tokens: completionTokens, meanEntropy };
  const found = findAnswer(text, answers);
  if (found === null) return { answer: null, correct: false, ...given };
  const options: EqualityOptions = tolerance === undefined ? {} : { tolerance };
  return {
    answer: canonicalAnswer(found.answer),
    written: found.answer,
    correct: isRightAnswer(found.answer, question, options),
    ...given,
  };
}

/** Lets a peer judge its samples, which are grouped by question. */
async function yesNoMeasurement(
  given: readonly (readonly { graded: GradedAnswer; text: string }[])[],
  questions: readonly LabelledQuestion[],
  ask: Omit<JudgeOptions, 'responses'>,
): Promise<YesNoMeasurement> {
  const responses = given.flatMap((list, index) =>
    list.map(({ text }) => ({ question: questions[index]?.question ?? '', response: text })),
  );
  const { layout, scores, failures } = await judgeResponses({ ...ask, responses });
  let next = 0;
  const judged = given.map((list) =>
    list.flatMap(({ graded }) => {
      const score = scores[next++];
      return score === undefined ? [] : [{ correct: graded.correct, score }];
    }),
  );
  return { gap: gapOf(judged), layout, judged: judged.flat().length, failures };
}

/** Questions without a sample take no part. */
function gapOf(samples: readonly (readonly ScoredSample[])[]): VerifierGap | undefined {
  const questions = samples.filter((list) => list.length > 0);
  return questions.length === 0 ? undefined : verifierGap(questions);
}
