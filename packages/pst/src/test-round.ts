import type { AnsweredQuestion, PeerResponse } from './round.js';

/** A response for tests; the text ends with its answer. */
export function response(
  peer: string,
  answer: string | null,
  extra: Partial<PeerResponse> = {},
): PeerResponse {
  const text = `${peer} says ${answer ?? 'nothing'}`;
  return { peer, text, answer, logLikelihood: -1, tokens: 3, finished: true, saw: [], ...extra };
}

/** A question answered by peers a, b, c … in this order. */
export function question(
  promptId: string,
  answers: readonly (string | null)[],
  text = promptId,
): AnsweredQuestion {
  const responses = answers.map((answer, i) => response('abcdefgh'[i], answer));
  return { promptId, text, responses };
}

/** The same question in the paper's setting: each peer saw those before it. */
export function sequential(promptId: string, answers: readonly (string | null)[]): AnsweredQuestion {
  const plain = question(promptId, answers);
  const responses = plain.responses.map((given, i) => ({
    ...given,
    saw: plain.responses.slice(0, i).map(({ peer }) => peer),
  }));
  return { ...plain, responses };
}
