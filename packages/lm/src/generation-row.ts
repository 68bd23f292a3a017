import type { Completion, GenerateItem } from './language-model.js';
import { uniformAt } from './random.js';
import type { SampledToken, SamplingRow, SamplingSettings, TokenLogProb } from './sampling.js';
import type { TextStream } from './tokenizer-stream.js';

/** Options of a generation with every default filled in. */
export interface GenerationSettings extends SamplingSettings {
  readonly maxTokens: number;
  readonly stopTokens: ReadonlySet<number>;
  /** Starts the watch for stop strings over one continuation; absent when there are none. */
  readonly watchText?: () => TextStream;
}

/** One sequence being continued. */
export interface GenerationRow extends SamplingRow {
  /** Its index among the request's items. */
  readonly index: number;
  readonly prompt: readonly number[];
  readonly finished: boolean;
  /** The token whose successor is drawn next. */
  readonly lastToken: number;
  /** The position of {@link lastToken}. */
  readonly position: number;
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
  const topLogProbs: (readonly TokenLogProb[])[] = [];
  const text = settings.watchText?.();
  const seen = settings.repetitionPenalty === 1 ? null : new Set(item.prompt);
  const seenList = [...(seen ?? [])];
  let entropySum = 0;
  let finish: Completion['finish'] | undefined;
  let reported = false;
  return {
    index,
    prompt: item.prompt,
    settings,
    seen: seenList,
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
    append({ token, logProb, entropy, top }) {
      tokens.push(token);
      logProbs.push(logProb);
      topLogProbs.push(top);
      entropySum += entropy;
      if (seen && !seen.has(token)) seenList.push(token);
      seen?.add(token);
      const stopped = text !== undefined && text.push(token).stop !== null;
      if (stopped || settings.stopTokens.has(token)) finish = 'stop';
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
      ...(settings.topLogProbs > 0 ? { topLogProbs } : {}),
    }),
  };
}
