import type { VerifierGap } from '@parley/evaluation';
import type { Recipe } from '@parley/pst';
import type { Graded, Measurement, PeerMeasurement } from '../measure/measurement.js';
import { sampledScores } from '../measure/statistics.js';
import type { GuardRecord } from '../runs/run-recorder.js';

/** What one cell of a study came to: one line of its results. Accuracies and gaps are shares in [0, 1]. */
export interface CellResult extends CellScores {
  format: 'parley.study-cell/1';
  /** Id, and digest of all it depends on. */
  cell: string;
  definition: string;
  population: string;
  task: string;
  /** Of the row; `untrained` without one. */
  row: string;
  title: string;
  seed: number;
  recipe: Recipe | null;
  train: string;
  /** Unlabelled questions. */
  questions: number;
  /** How the run ended, and why; `completed` unless a guard, or something else, ended it. */
  state: string;
  stateReason: string;
  rounds: number;
  updates: { published: number; applied: number; items: number; optimizerSteps: number };
  /** Of questions, the share whose aggregate was accepted. */
  accepted: number | null;
  verdicts: readonly GuardRecord[];
  /** SHA-256 of each peer's final weights. */
  weights: readonly string[];
  seconds: { train: number; measure: number };
}

/** What was measured on the held-out questions. */
export interface CellScores {
  peers: PeerScores[];
  vote: Correctness;
  /** Mean over the pairs of peers of the share of questions on which their answers are the same. */
  agreement: number;
  /** The last peer of a sequence, in each order that ends differently; of untrained populations alone. */
  lastOfSequence?: Correctness[];
}

/** Answers to the held-out questions. */
export interface Correctness {
  accuracy: number;
  /** One character a question: 1 right, 0 wrong, - not answered. */
  right: string;
}

/** One peer. */
export interface PeerScores {
  name: string;
  greedy: Correctness;
  /** Of the samples. */
  sampled: number;
  /** The majority of the samples. */
  majority: number;
  /** By k: 1, 2, 4, … */
  passAtK: Record<string, number>;
  gap: VerifierGap | null;
  yesNoGap: VerifierGap | null;
  /** Of greedy answers: nats per token, tokens, share without a final answer. */
  entropy: number;
  tokens: number;
  unparseable: number;
}

/** The scores of a measurement. */
export function cellScores(measurement: Measurement, samples: number): CellScores {
  return {
    peers: measurement.peers.map((peer) => peerScores(peer, samples)),
    vote: correctness(measurement.vote),
    agreement: agreement(measurement.peers.map(({ greedy }) => greedy)),
  };
}

/** As {@link Correctness}. */
export function correctness(graded: readonly Graded[]): Correctness {
  const right = graded.map((one) => (one === undefined ? '-' : one.correct ? '1' : '0')).join('');
  return { accuracy: mean(graded.flatMap((one) => (one === undefined ? [] : [Number(one.correct)]))), right };
}

function peerScores(peer: PeerMeasurement, samples: number): PeerScores {
  const given = peer.greedy.filter((one) => one !== undefined);
  const sampled = sampledScores(peer, samples);
  return {
    name: peer.name,
    greedy: correctness(peer.greedy),
    sampled: sampled?.accuracy ?? NaN,
    majority: sampled?.majority ?? NaN,
    passAtK: Object.fromEntries((sampled?.passAt ?? []).map(({ k, value }) => [String(k), value])),
    gap: peer.gap ?? null,
    yesNoGap: peer.yesNo?.gap ?? null,
    entropy: mean(given.map(({ meanEntropy }) => meanEntropy)),
    tokens: mean(given.map(({ tokens }) => tokens)),
    unparseable: mean(given.map(({ answer }) => Number(answer === null))),
  };
}

function agreement(peers: readonly (readonly Graded[])[]): number {
  const pairs = peers.flatMap((one, i) => peers.slice(i + 1).map((other) => [one, other] as const));
  return mean(
    pairs.map(([one, other]) =>
      mean(one.map((graded, i) => Number(graded !== undefined && graded.answer === other[i]?.answer))),
    ),
  );
}

/** NaN for an empty list. */
function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
