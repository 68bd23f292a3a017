import type { Contribution } from '@parley/contracts';
import type { PromptTemplate, Tokenizer } from '@parley/lm';

/** A span to score: its tokens behind those that are given. */
export interface EncodedSpan {
  /** Rendered prompt and, behind it, the given beginning of the answer. */
  readonly given: number[];
  readonly scored: number[];
}

/** Between the contract's text and one model's tokens. Pure. */
export interface TextCodec {
  /** Tokens that end an answer when the model writes one of them. */
  readonly endTokens: readonly number[];
  /** The one of them that ends an answer in training and scoring; `undefined` for a model without any. */
  readonly endToken: number | undefined;
  /** Tokens of the rendered prompt, up to where the answer begins. */
  prompt(question: string, context: readonly Contribution[]): number[];
  /** Whether the model's prompt template lays out a response to judge. */
  readonly judgesCandidates: boolean;
  /** Tokens of the prompt that asks whether a response to the question is right, up to where the verdict begins. */
  verification(question: string, candidate: string): number[];
  /** Tokens of an answer to learn, with its end. */
  target(text: string): number[];
  /** A span as `ScoreItem` defines it: the tokens of prefix + continuation after the longest run shared with the prefix's. */
  span(prompt: readonly number[], prefix: string, continuation: string, includeEnd: boolean): EncodedSpan;
  /** Text of generated tokens up to the end token or the first stop string, neither of them included. */
  text(tokens: readonly number[], stop: readonly string[]): string;
  /** One token by itself, special ones written out; U+FFFD stands for bytes that are no whole character. */
  tokenText(token: number): string;
}

/** The codec of a model folder's tokenizer and prompt template. */
export function createTextCodec(tokenizer: Tokenizer, template: PromptTemplate): TextCodec {
  const { addSpecialTokens } = template;
  const endTokens = tokenizer.eosTokenIds;
  const prompt: TextCodec['prompt'] = (question, context) => {
    const answers = context.map(({ speaker, peer, text }) => ({ speaker, peer, text }));
    return tokenizer.encode(template.render({ question, answers }), { addSpecialTokens });
  };
  // Chat models have several end tokens (end of text, end of turn). What ends the user's turn ends the model's too.
  const endToken = prompt('?', []).findLast((id) => endTokens.includes(id)) ?? endTokens[0];
  const end = endToken === undefined ? [] : [endToken];
  return {
    endTokens,
    endToken,
    prompt,
    judgesCandidates: template.judgesCandidates,
    verification: (question, candidate) =>
      tokenizer.encode(template.render({ question, answers: [], candidate }), { addSpecialTokens }),
    target: (text) => [...tokenizer.encode(text), ...end],
    span(prompt, prefix, continuation, includeEnd) {
      const { ids, start } = tokenizer.encodeSpan(prefix, continuation);
      const scored = ids.slice(start);
      return {
        given: [...prompt, ...ids.slice(0, start)],
        scored: includeEnd ? [...scored, ...end] : scored,
      };
    },
    text(tokens, stop) {
      const last = tokens.at(-1);
      const ended = last !== undefined && endTokens.includes(last);
      const text = tokenizer.decode(ended ? tokens.slice(0, -1) : tokens);
      const cut = Math.min(...stop.map((word) => text.indexOf(word)).filter((at) => at >= 0), text.length);
      return text.slice(0, cut);
    },
    tokenText: (token) => tokenizer.decode([token], { skipSpecialTokens: false }),
  };
}
