import { VERDICTS, VERIFICATION_TEMPLATE } from '@parley/evaluation';
import type { AnswerForm, BenchmarkName, PairedChange, VerificationLayout } from '@parley/evaluation';
import type { DescribeResponse } from '@parley/contracts';
import type { EvaluationData } from '../input/evaluation-data.js';
import { percent, plural, points, pointsInterval } from '../output/format.js';
import { renderTable } from '../output/text-table.js';
import type { Contamination } from './contamination.js';
import type { Measurement, MeasurementPlan, PeerMeasurement, Verifier } from './measurement.js';
import { change, sampledScores, shareCorrect, shareUnparseable } from './statistics.js';
import type { SampledScores, Share } from './statistics.js';

/** What `parley eval` prints. Accuracies, gaps and intervals are shares in [0, 1] or differences of shares. */
export interface EvaluationResult {
  format: 'parley.evaluation/1';
  /** Version of Parley. */
  parley: string;
  /** When the measurement ended, ISO 8601. */
  time: string;
  /** Null for questions of the user's own. */
  benchmark: BenchmarkName | null;
  data: {
    file: string;
    /** Of the whole file. */
    sha256: string;
    rows: number;
    /** Rows that were left out, being after the first that were asked for. */
    excluded: number;
    /** How many of the questions that were asked differ. */
    distinct: number;
    /** Questions that ask for the first of several unknowns alone. */
    askedForFirst: number;
  };
  /** How many were asked. */
  questions: number;
  /** What a peer was asked, around `{question}`. */
  promptTemplate: string;
  answers: {
    forms: readonly AnswerForm[];
    numeric: boolean;
    /** Relative to the larger of two numbers and 1. */
    tolerance: number;
  };
  sampling: { samples: number; temperature: number; maxTokens: number };
  /** Of samples and bootstrap. */
  seed: string;
  peers: EvaluatedPeer[];
  /** Majority of the peers' greedy answers; undefined for a single peer. */
  vote?: Share;
  /** The vote against the peer that was best on the same questions: paired bootstrap over them. */
  voteOverBest?: { peer: string } & VoteChange;
  contamination: Contamination;
  seconds: number;
}

/** A change with its 95 % interval. */
type VoteChange = Pick<PairedChange, 'delta' | 'wrongToRight' | 'rightToWrong'> & {
  ci95: [number, number];
  n: number;
};

/** Generator–verifier gap with its companions; see `verifierGap` of `@parley/evaluation`. */
export interface EvaluatedGap {
  generatorAccuracy: number;
  selectedAccuracy: number;
  gap: number;
  relativeGap: number | null;
  auc: number | null;
  withinAuc?: number | null;
}

/** {@link EvaluatedGap} with the peer's yes or no as verifier, over the samples that it judged. */
export interface EvaluatedYesNo extends Partial<EvaluatedGap> {
  /** How it was asked: in its own prompt layout, or by a question, and that question. */
  layout: VerificationLayout;
  promptTemplate: string | null;
  /** The two words whose likelihoods are compared. */
  verdicts: { yes: string; no: string };
  judged: number;
  /** Samples that it could not judge, by reason. */
  failures: Readonly<Record<string, number>>;
}

/** The scores of one peer. */
export interface EvaluatedPeer {
  name: string;
  architecture: string;
  device: string;
  version: number;
  weightsSha256: string;
  baseSha256: string;
  greedy: Share;
  /** Greedy answers in whose text no answer was found; they count as wrong. */
  unparseable: Share;
  sampled?: SampledScores;
  /** By verifier; empty where nothing was sampled. */
  verifiers: { likelihood?: EvaluatedGap; 'yes-no'?: EvaluatedYesNo };
  /** Failed answers by reason. They are left out, and not wrong. */
  failures: Readonly<Record<string, number>>;
}

/** What a result is made of. */
export interface EvaluationParts {
  measurement: Measurement;
  plan: MeasurementPlan & { promptTemplate: string; tolerance: number };
  data: EvaluationData;
  descriptions: readonly DescribeResponse[];
  contamination: Contamination;
  parley: string;
  time: Date;
}

export function evaluationResult(parts: EvaluationParts): EvaluationResult {
  const { measurement, plan, data, descriptions, contamination, parley, time } = parts;
  const { answers, tolerance, samples, sampleTemperature, maxTokens, seed, promptTemplate } = plan;
  return {
    format: 'parley.evaluation/1',
    parley,
    time: time.toISOString(),
    benchmark: data.benchmark?.name ?? null,
    data: {
      file: data.file,
      sha256: data.sha256,
      rows: data.rows,
      excluded: data.rows - data.questions.length,
      distinct: data.distinct,
      askedForFirst: data.questions.filter(({ asksForFirst }) => asksForFirst).length,
    },
    questions: plan.questions.length,
    promptTemplate,
    answers: { forms: answers.forms, numeric: answers.numeric ?? false, tolerance },
    sampling: { samples, temperature: sampleTemperature, maxTokens },
    seed: String(seed),
    peers: measurement.peers.map((peer, index) => evaluatedPeer(peer, plan, descriptions[index])),
    ...(measurement.peers.length > 1 && {
      vote: shareCorrect(measurement.vote),
      ...voteOverBest(measurement, seed),
    }),
    contamination,
    seconds: measurement.seconds,
  };
}

function evaluatedPeer(
  peer: PeerMeasurement,
  plan: MeasurementPlan,
  description: DescribeResponse | undefined,
): EvaluatedPeer {
  const sampled = sampledScores(peer, plan.samples);
  const wanted = (verifier: Verifier): boolean => plan.verifiers?.includes(verifier) ?? true;
  const { gap, yesNo } = peer;
  return {
    name: peer.name,
    architecture: description?.architecture ?? '',
    device: description?.device ?? '',
    version: Number(peer.version),
    weightsSha256: description?.weightsSha256 ?? '',
    baseSha256: description?.baseSha256 ?? '',
    greedy: shareCorrect(peer.greedy),
    unparseable: shareUnparseable(peer.greedy),
    ...(sampled && { sampled }),
    verifiers: {
      ...(gap && wanted('likelihood') && { likelihood: { ...gap } }),
      ...(yesNo && {
        'yes-no': {
          ...yesNo.gap,
          layout: yesNo.layout,
          promptTemplate: yesNo.layout === 'question' ? VERIFICATION_TEMPLATE : null,
          verdicts: VERDICTS[yesNo.layout],
          judged: yesNo.judged,
          failures: yesNo.failures,
        },
      }),
    },
    failures: peer.failures,
  };
}

/** Nothing where no question was answered by both. */
function voteOverBest({ peers, vote }: Measurement, seed: bigint): Pick<EvaluationResult, 'voteOverBest'> {
  const accuracy = ({ greedy }: PeerMeasurement): number => shareCorrect(greedy).value || 0;
  const best = peers.reduce((one, other) => (accuracy(other) > accuracy(one) ? other : one));
  if (!best.greedy.some((one, index) => one && vote[index])) return {};
  const { delta, ci95, wrongToRight, rightToWrong, n } = change(best.greedy, vote, seed);
  return {
    voteOverBest: { peer: best.name, delta, ci95: [ci95.low, ci95.high], n, wrongToRight, rightToWrong },
  };
}

/** The same as tables, with what it was measured on and how. */
export function renderEvaluation(result: EvaluationResult): string {
  const tables = [scoreTable(result), verifierTable(result)].filter((table) => table !== '');
  return [...tables, footer(result)].join('\n\n');
}

function scoreTable({ peers, vote }: EvaluationResult): string {
  const sampled = peers.find((peer) => peer.sampled)?.sampled;
  const above1 = sampled?.passAt.filter(({ k }) => k > 1).map(({ k }) => k) ?? [];
  const sampledColumns = sampled
    ? ['sampled', ...above1.map((k) => `pass@${k}`), `majority of ${sampled.k}`, '95 % interval']
    : [];
  const rows = peers.map(({ name, version, greedy, unparseable, sampled: scores }) => [
    name,
    String(version),
    percent(greedy.value),
    interval(greedy),
    percent(unparseable.value),
    percent(scores?.accuracy),
    ...above1.map((k) => percent(scores?.passAt.find((at) => at.k === k)?.value)),
    percent(scores?.majority),
    scores ? interval(scores.selfConsistency) : '',
  ]);
  return renderTable(
    [
      { heading: 'peer' },
      ...['version', 'greedy', '95 % interval', 'no answer', ...sampledColumns].map(right),
    ],
    [...rows, ...(vote ? [['vote', '', percent(vote.value), interval(vote)]] : [])],
  );
}

function verifierTable({ peers }: EvaluationResult): string {
  const rows = peers.flatMap(({ name, verifiers }) =>
    [
      ['likelihood', verifiers.likelihood] as const,
      [`yes or no, by ${verifiers['yes-no']?.layout ?? ''}`, verifiers['yes-no']] as const,
    ].flatMap(([verifier, gap]) =>
      gap
        ? [
            [
              name,
              verifier,
              percent(gap.generatorAccuracy),
              percent(gap.selectedAccuracy),
              points(gap.gap),
              chance(gap.auc),
              chance(gap.withinAuc),
            ],
          ]
        : [],
    ),
  );
  if (rows.length === 0) return '';
  return renderTable(
    [
      { heading: 'peer' },
      { heading: 'verifier' },
      ...['samples', 'verifier picks', 'gap', 'AUC', 'in a question'].map(right),
    ],
    rows,
  );
}

/** Of an AUC. */
function chance(auc: number | null | undefined): string {
  return auc == null ? '–' : auc.toFixed(2);
}

function right(heading: string) {
  return { heading, align: 'right' as const };
}

function footer(result: EvaluationResult): string {
  const { data, benchmark, questions, answers, sampling, seed, voteOverBest, parley, time } = result;
  const distinct = data.distinct < questions ? `, ${data.distinct} of them distinct` : '';
  const first = data.excluded > 0 ? `the first ${questions} of ${data.rows}` : String(questions);
  const { samples, temperature, maxTokens } = sampling;
  const lines = [
    `On ${first} ${questions === 1 ? 'question' : 'questions'}${distinct}, of ${data.file} ` +
      `(${benchmark === null ? '' : `${benchmark}, `}sha256 ${data.sha256.slice(0, 12)}…).`,
  ];
  if (voteOverBest)
    lines.push(
      `The vote against ${voteOverBest.peer}, the best peer here: ${points(voteOverBest.delta)} points ` +
        `${pointsInterval(voteOverBest.ci95)} (paired bootstrap).`,
    );
  if (data.askedForFirst > 0)
    lines.push(`${data.askedForFirst} of them ask for one of two unknowns: the first alone is right, too.`);
  lines.push(
    `Prompt ${JSON.stringify(result.promptTemplate)}; answers ${answers.forms.join(', ')}; numbers within ${answers.tolerance}.`,
    `${samples === 0 ? 'No samples' : `${plural(samples, 'sample')} at temperature ${temperature}`}, ` +
      `at most ${plural(maxTokens, 'token')}, seed ${seed}; parley ${parley}, ${time}.`,
    ...failureLines(result),
    ...contaminationLines(result),
  );
  return lines.join('\n');
}

function failureLines({ peers }: EvaluationResult): string[] {
  const named = (name: string, failures: Readonly<Record<string, number>> = {}): string[] => {
    const reasons = Object.entries(failures).map(([reason, times]) => `${times} × ${reason}`);
    return reasons.length === 0 ? [] : [`${name} ${reasons.join(', ')}`];
  };
  const unanswered = peers.flatMap(({ name, failures }) => named(name, failures));
  const unjudged = peers.flatMap(({ name, verifiers }) => named(name, verifiers['yes-no']?.failures));
  return [
    ...(unanswered.length > 0 ? [`Not answered, left out and not wrong: ${unanswered.join('; ')}.`] : []),
    ...(unjudged.length > 0 ? [`Samples that could not be judged: ${unjudged.join('; ')}.`] : []),
  ];
}

function contaminationLines({ contamination, questions }: EvaluationResult): string[] {
  const { ids, comparedWith, notChecked } = contamination;
  const compared = comparedWith.map(({ source, prompts }) => `${source} (${plural(prompts, 'prompt')})`);
  const trained =
    ids.length > 0
      ? [
          `CONTAMINATED: ${ids.length} of the ${questions} were trained on, as was declared: ${compared.join(', ')}.`,
        ]
      : comparedWith.length > 0
        ? [`None of them is among the training prompts of ${compared.join(', ')}.`]
        : [];
  const whys = [...new Set(notChecked.map(({ why }) => why))];
  const unknown = whys.map((why) => {
    const peers = notChecked.filter((one) => one.why === why).map(({ peer }) => peer);
    return `Whether ${peers.join(', ')} trained on them was not checked: ${why}.`;
  });
  return [...trained, ...unknown];
}

function interval({ ci95: [low, high] }: Share): string {
  return `[${percent(low)}, ${percent(high)}]`;
}
