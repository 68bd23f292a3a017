/** One supervised example for pretraining. Tokens are what lies between spaces. */
export interface TrainingItem {
  readonly kind: 'solve' | 'solve-in-context' | 'verify';
  /** Starts with `<bos>`. */
  readonly prompt: string;
  /** What to learn, its `<eos>` included where there is one. */
  readonly completion: string;
  /** Weight of each token of the completion; a batch's loss is Σ w·CE / Σ w. */
  readonly tokenWeights: readonly number[];
}

/** An item whose completion is a list of words; missing weights are 1. */
export function trainingItem(
  kind: TrainingItem['kind'],
  prompt: string,
  completion: string,
  weights: readonly number[] = [],
): TrainingItem {
  const tokenWeights = completion.split(' ').map((_, i) => weights[i] ?? 1);
  return { kind, prompt, completion, tokenWeights };
}
