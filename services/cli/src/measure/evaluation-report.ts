import type { DescribeResponse } from '@parley/contracts';
import { percent, points } from '../output/format.js';
import { renderTable } from '../output/text-table.js';
import type { Measurement, MeasurementPlan } from './measurement.js';
import { sampledScores, shareCorrect } from './statistics.js';
import type { SampledScores, Share } from './statistics.js';

/** What `parley eval` prints. Accuracies and gaps are shares in [0, 1]. */
export interface EvaluationResult {
  questions: number;
  peers: EvaluatedPeer[];
  /** Majority of the peers' greedy answers; undefined for a single peer. */
  vote?: Share;
  seconds: number;
}

/** The scores of one peer. */
export interface EvaluatedPeer {
  name: string;
  architecture: string;
  version: number;
  weightsSha256: string;
  greedy: Share;
  sampled?: SampledScores;
  /** Generator–verifier gap with its companions; see `verifierGap` of `@parley/evaluation`. */
  gap?: {
    generatorAccuracy: number;
    selectedAccuracy: number;
    gap: number;
    relativeGap: number | null;
    auc: number | null;
  };
  /** Failed answers by reason. */
  failures: Readonly<Record<string, number>>;
}

export function evaluationResult(
  measurement: Measurement,
  plan: MeasurementPlan,
  descriptions: readonly DescribeResponse[],
): EvaluationResult {
  return {
    questions: plan.questions.length,
    peers: measurement.peers.map((peer, index) => {
      const sampled = sampledScores(peer, plan.samples);
      return {
        name: peer.name,
        architecture: descriptions[index]?.architecture ?? '',
        version: Number(peer.version),
        weightsSha256: descriptions[index]?.weightsSha256 ?? '',
        greedy: shareCorrect(peer.greedy),
        ...(sampled && { sampled }),
        ...(peer.gap && { gap: { ...peer.gap } }),
        failures: peer.failures,
      };
    }),
    ...(measurement.peers.length > 1 && { vote: shareCorrect(measurement.vote) }),
    seconds: measurement.seconds,
  };
}

/** The same as a table. */
export function renderEvaluation({ peers, vote, questions }: EvaluationResult): string {
  const k = peers.find(({ sampled }) => sampled)?.sampled?.k;
  const sampledColumns =
    k === undefined ? [] : ['sampled', `pass@${k}`, `majority of ${k}`, 'verifier picks', 'gap'];
  const rows = peers.map(({ name, version, greedy, sampled, gap }) => [
    name,
    String(version),
    percent(greedy.value),
    interval(greedy),
    percent(sampled?.accuracy),
    percent(sampled?.passAtK),
    percent(sampled?.majority),
    percent(gap?.selectedAccuracy),
    points(gap?.gap),
  ]);
  const votes = vote ? [['vote', '', percent(vote.value), interval(vote)]] : [];
  const table = renderTable(
    [
      { heading: 'peer' },
      { heading: 'version', align: 'right' },
      { heading: 'greedy', align: 'right' },
      { heading: '95 % interval', align: 'right' },
      ...sampledColumns.map((heading) => ({ heading, align: 'right' as const })),
    ],
    [...rows, ...votes],
  );
  return `${table}\n\nOn ${questions} questions.`;
}

function interval({ ci95: [low, high] }: Share): string {
  return `[${percent(low)}, ${percent(high)}]`;
}
