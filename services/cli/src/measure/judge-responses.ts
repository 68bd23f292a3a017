import { VERDICTS, verificationQuestion } from '@parley/evaluation';
import type { VerificationLayout } from '@parley/evaluation';
import { retry } from '@parley/runtime';
import { brokenContract, shouldRetry } from './ask-peer.js';
import type { AskedPeer } from './ask-peer.js';

/** A response that its own peer is to judge. */
export interface JudgedResponse {
  question: string;
  response: string;
}

/** What a peer is asked. */
export interface JudgeOptions {
  peer: AskedPeer;
  responses: readonly JudgedResponse[];
  /** The version that gave the responses; no other may judge them. */
  version: bigint;
  /** For one call. */
  deadlineMs: number;
  signal: AbortSignal;
  /** Called once for every response. */
  onAnswer: () => void;
}

/** The verdicts of a peer. */
export interface Judgement {
  /** How it was asked. */
  layout: VerificationLayout;
  /** logit(yes) − logit(no) of each response; undefined where it could not be scored. */
  scores: (number | undefined)[];
  /** Why some could not, by reason. */
  failures: Record<string, number>;
}

/** Responses of one call: two spans each, under any message limit. */
const RESPONSES_PER_CALL = 200;
const ATTEMPTS = 5;

/**
 * Asks a peer whether responses are right: log p(yes) − log p(no), which is the difference of the logits, by its Score RPC. A
 * peer whose prompt layout has a place for a response is asked there; any other gets `VERIFICATION_TEMPLATE` as a question.
 *
 * @throws ParleyError what the peer says; VERSION_MISMATCH if its weights changed; REMOTE_FAILURE if it breaks its contract
 */
export async function judgeResponses(options: JudgeOptions): Promise<Judgement> {
  const { peer, responses, signal } = options;
  const { judgesCandidates } = await peer.client.describe({}, { signal });
  const layout: VerificationLayout = judgesCandidates ? 'template' : 'question';
  const judgement: Judgement = { layout, scores: [], failures: {} };
  for (let start = 0; start < responses.length; start += RESPONSES_PER_CALL) {
    const part = responses.slice(start, start + RESPONSES_PER_CALL);
    const backoff = { attempts: ATTEMPTS, baseMs: 200, maxMs: 2000, signal, shouldRetry };
    const logProbs = await retry(backoff, () => scoreVerdicts(options, layout, part));
    for (const [yes, no] of logProbs) {
      const failed = [yes, no].find((one) => typeof one === 'string');
      if (failed !== undefined) judgement.failures[failed] = (judgement.failures[failed] ?? 0) + 1;
      judgement.scores.push(failed === undefined ? Number(yes) - Number(no) : undefined);
    }
  }
  return judgement;
}

/** Log-probability, or reason of failure, of yes and of no for each response. */
async function scoreVerdicts(
  { peer, version, deadlineMs, signal, onAnswer }: JudgeOptions,
  layout: VerificationLayout,
  responses: readonly JudgedResponse[],
): Promise<[number | string, number | string][]> {
  const { yes, no } = VERDICTS[layout];
  const items = responses.flatMap(({ question, response }, index) => {
    const asked =
      layout === 'template'
        ? { question, candidate: response }
        : { question: verificationQuestion(question, response) };
    return [
      { ...asked, itemId: `${index}/yes`, continuation: yes },
      { ...asked, itemId: `${index}/no`, continuation: no },
    ];
  });
  const request = { requestId: 'measure-verdicts', items, version };
  const { results } = await peer.client.score(request, { deadlineMs, signal });
  const outcomes = results.map(({ itemId, outcome }, index) => {
    if (itemId !== items[index]?.itemId || outcome.case === undefined)
      throw brokenContract(peer.name, `scored item "${itemId}" out of order or without an outcome`);
    return outcome.case === 'likelihood' ? outcome.value.logProb : outcome.value.reason;
  });
  if (outcomes.length < items.length)
    throw brokenContract(
      peer.name,
      `left ${items.length - outcomes.length} of ${items.length} spans unscored`,
    );
  return responses.map((_, index) => {
    onAnswer();
    return [outcomes[2 * index], outcomes[2 * index + 1]] as [number | string, number | string];
  });
}
