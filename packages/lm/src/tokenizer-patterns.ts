import * as tokenizers from '@huggingface/tokenizers';
import { LmError } from './lm-error.js';
import { preview } from './preview.js';
import type { RuleContext } from './tokenizer-rules.js';
import type { TimeLimit } from './time-limit.js';

/** What is used of the library, whose own declarations do not resolve under NodeNext. */
const { SplitPreTokenizer } = tokenizers as unknown as {
  readonly SplitPreTokenizer: new (config: object) => { pre_tokenize_text(text: string): string[] };
};

/** Runs of one kind of character, and what ends them: where searches that take exponential time are found out. */
const runs = [
  'a',
  'A',
  'é',
  '中',
  '🦜',
  '0',
  '_',
  '-',
  '.',
  "'",
  ' ',
  '\t',
  '\n',
  '\r\n',
  'a ',
  'a1',
  'aA',
  ' \n',
];
const ends = ['!', 'x', '\u0000'];

/**
 * Refuses regular expressions that do not compile or that need too long for simple text. The search for a pattern that
 * passes can still be slow on other text: encoding keeps to a time limit as well.
 * @param limitMs for all probes of one pattern, which together have some ten thousand characters
 * @throws LmError `TOKENIZER_INVALID` naming the pattern's place.
 */
export function checkPatterns(
  patterns: RuleContext['patterns'],
  label: string,
  timeLimit: TimeLimit,
  limitMs: number,
): void {
  for (const { at, source } of patterns) {
    const refuse = (problem: string, cause?: unknown): LmError =>
      new LmError(
        'TOKENIZER_INVALID',
        `${label}: "${at}" is ${preview(source)}, ${problem}. Choose another model, or correct the expression.`,
        { details: { file: label, field: at, value: preview(source) }, cause },
      );
    try {
      timeLimit.run(
        limitMs,
        () => probe(source),
        () => refuse(`a regular expression that takes more than ${limitMs} ms on short text`),
      );
    } catch (cause) {
      if (cause instanceof LmError) throw cause;
      throw refuse(`which is no regular expression: ${(cause as Error).message.slice(0, 200)}`, cause);
    }
  }
}

function probe(source: string): void {
  const split = new SplitPreTokenizer({ pattern: { Regex: source }, behavior: 'Isolated', invert: false });
  const own = [...new Set(source)].filter((character) => !runs.includes(character)).slice(0, 40);
  for (const run of [...runs, ...own]) for (const end of ends) split.pre_tokenize_text(run.repeat(60) + end);
}
