import type { Completion, GenerateItem } from './language-model.js';
import { uniformAt } from './random.js';
import type { SampledToken } from './sampling.js';

/** Options of a generation with every default filled in. */
export interface GenerationSettings {
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly stopTokens: ReadonlySet<number>;
  /** Whether a continuation contains a stop string; absent when there are none. */
  readonly stopText?: (tokens: readonly number[]) => boolean;
}

/** One sequence being continued. */
export interface GenerationRow {
  /** Its index among the request's items. */
  readonly index: number;
  readonly prompt: readonly number[];
  readonly finished: boolean;
  /** The token whose successor is drawn next. */
  readonly lastToken: number;
  /** The position of {@link lastToken}. */
  readonly position: number;
  /** The number in [0, 1) that decides the next token. */
  readonly uniform: number;
  /** Appends the next token. */
  append(sampled: SampledToken): void;
  /** True once, at the first call after the row finished. */
  justFinished(): boolean;
  completion(): Completion;
}

/** Starts a row; its n-th token is decided by its seed and n alone. */
export function createRow(index: number, item: GenerateItem, settings: GenerationSettings): GenerationRow {
  const tokens: number[] = [];
  const logProbs: number[] = [];
  let entropySum = 0;
  let finish: Completion['finish'] | undefined;
  let reported = false;
  return {
    index,
    prompt: item.prompt,
    get finished() {
      return finish !== undefined;
    },
    get lastToken() {
      return tokens.at(-1) ?? item.prompt.at(-1)!;
    },
    get position() {
      return item.prompt.length + tokens.length - 1;
    },
    get uniform() {
      return settings.temperature === 0 ? 0 : uniformAt(item.seed, tokens.length);
    },
    append(sampled) {
      tokens.push(sampled.token);
      logProbs.push(sampled.logProb);
      entropySum += sampled.entropy;
      if (settings.stopTokens.has(sampled.token) || settings.stopText?.(tokens)) finish = 'stop';
      else if (tokens.length >= settings.maxTokens) finish = 'length';
    },
    justFinished() {
      if (finish === undefined || reported) return false;
      reported = true;
      return true;
    },
    completion: () => ({
      tokens,
      logProbs: Float32Array.from(logProbs),
      finish: finish ?? 'length',
      meanEntropy: entropySum / tokens.length,
    }),
  };
}
