/** One sampled response, graded, with what the model itself thinks of it. */
export interface ScoredSample {
  readonly correct: boolean;
  /** Verification score: logit(yes) − logit(no), or the response's log-likelihood. Greater is better. */
  readonly score: number;
}

/** How a verifier reweighs N samples: all weight on the best, or softmax(score / temperature). */
export type Reweighting =
  { readonly kind: 'best' } | { readonly kind: 'softmax'; readonly temperature: number };

/** The generator–verifier gap with the figures it must be read beside. */
export interface VerifierGap {
  /** E[u]: accuracy of the samples as they are. */
  readonly generatorAccuracy: number;
  /** Accuracy after reweighting by the verifier. */
  readonly selectedAccuracy: number;
  /** selectedAccuracy − generatorAccuracy. */
  readonly gap: number;
  /** gap / (1 − generatorAccuracy); null when the generator is always right. */
  readonly relativeGap: number | null;
  /** Chance that a right sample scores above a wrong one, over all samples; null without both kinds. */
  readonly auc: number | null;
  /**
   * The same within a question, averaged over the questions with both kinds: a verifier that merely knows hard questions has a
   * high AUC over all samples and none here. Only this one helps to choose.
   */
  readonly withinAuc?: number | null;
}

/**
 * Generator–verifier gap (Song et al., 2412.02674): what a model gains by choosing among its own samples with its
 * own verification. A gap also shrinks when the verifier gets worse, so read it beside the accuracies and the AUC.
 * One list of samples a question; equal best scores share the weight; a NaN score ranks below all others.
 * Throws a RangeError when a question has no sample.
 */
export function verifierGap(
  questions: readonly (readonly ScoredSample[])[],
  reweighting: Reweighting = { kind: 'best' },
): VerifierGap {
  const accuracies = questions.map((samples, i) => {
    if (samples.length === 0) throw new RangeError(`question ${i} has no samples`);
    const weights = weigh(samples.map(rank), reweighting);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const selected = samples.reduce((sum, { correct }, j) => sum + (correct ? weights[j] : 0), 0) / total;
    return { plain: samples.filter(({ correct }) => correct).length / samples.length, selected };
  });
  const average = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  const within = questions.map(areaUnderCurve).filter((auc) => auc !== null);
  const generatorAccuracy = average(accuracies.map(({ plain }) => plain));
  const selectedAccuracy = average(accuracies.map(({ selected }) => selected));
  const gap = selectedAccuracy - generatorAccuracy;
  return {
    generatorAccuracy,
    selectedAccuracy,
    gap,
    relativeGap: generatorAccuracy < 1 ? gap / (1 - generatorAccuracy) : null,
    auc: areaUnderCurve(questions.flat()),
    withinAuc: within.length === 0 ? null : average(within),
  };
}

/** P(score of a right sample > score of a wrong one), ties counted half (Mann and Whitney). */
export function areaUnderCurve(samples: readonly ScoredSample[]): number | null {
  const sorted = samples.map((sample) => ({ correct: sample.correct, score: rank(sample) }));
  sorted.sort((a, b) => (a.score === b.score ? 0 : a.score < b.score ? -1 : 1));
  const right = sorted.filter(({ correct }) => correct).length;
  const wrong = sorted.length - right;
  if (right === 0 || wrong === 0) return null;
  let wins = 0;
  let wrongBelow = 0;
  for (let start = 0; start < sorted.length;) {
    let end = start;
    let tiedRight = 0;
    while (end < sorted.length && sorted[end].score === sorted[start].score) {
      if (sorted[end++].correct) tiedRight++;
    }
    const tiedWrong = end - start - tiedRight;
    wins += tiedRight * (wrongBelow + tiedWrong / 2);
    wrongBelow += tiedWrong;
    start = end;
  }
  return wins / (right * wrong);
}

function rank({ score }: ScoredSample): number {
  return Number.isNaN(score) ? -Infinity : score;
}

function weigh(scores: readonly number[], reweighting: Reweighting): number[] {
  const top = Math.max(...scores);
  const best = scores.map((score) => (score === top ? 1 : 0));
  if (reweighting.kind === 'best' || !Number.isFinite(top)) return best;
  return scores.map((score) => Math.exp((score - top) / reweighting.temperature));
}
