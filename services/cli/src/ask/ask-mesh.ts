import { DEFAULT_ANSWERS, canonicalAnswer, findAnswer } from '@parley/evaluation';
import { ParleyError } from '@parley/runtime';
import type { PromptLine } from '../input/prompts-file.js';
import { askPeer } from '../measure/ask-peer.js';
import type { Answer, Answers, AskedPeer } from '../measure/ask-peer.js';
import { countVotes } from '../measure/majority-vote.js';

/** What one peer said to one question. */
export interface Saying {
  peer: string;
  version: bigint;
  /** Final answer in canonical form; null where the text holds none. */
  answer: string | null;
  text: string;
  /** Natural-log probability of the whole text. */
  logProb: number;
}

/** What a mesh says to one question. */
export interface MeshAnswer {
  promptId: string;
  question: string;
  /** What most peers say, ties by likelihood; null if none gave a final answer. */
  answer: string | null;
  /** Peers that say so. */
  votes: number;
  /** What stands for the answer: the likeliest text that gives it, or of all if there is none; undefined if nobody answered. */
  chosen: Saying | undefined;
  /** In the order of the peers, without those that failed. */
  said: readonly Saying[];
  /** Why peers failed to answer this question. */
  failures: readonly Silence[];
}

/** Questions for a mesh. */
export interface MeshQuestions {
  peers: readonly AskedPeer[];
  questions: readonly PromptLine[];
  maxTokens: number;
  requestId: string;
  /** For everything that one peer is asked. */
  deadlineMs: number;
  signal: AbortSignal;
}

/** A peer that did not answer, and why. */
export interface Silence {
  peer: string;
  message: string;
}

/** Answers, and the peers that gave none. */
export interface MeshAnswers {
  answers: readonly MeshAnswer[];
  silent: readonly Silence[];
}

interface Heard extends Answers {
  peer: string;
}

/**
 * Asks every peer every question, each alone and greedily, and takes the vote. A peer that does not answer in time is
 * named and left out.
 *
 * @throws ParleyError SERVICE_UNAVAILABLE if no peer answers, or the signal's reason
 */
export async function askMesh(request: MeshQuestions): Promise<MeshAnswers> {
  const { peers, questions, signal } = request;
  const heard = await Promise.all(peers.map((peer) => listen(request, peer)));
  signal.throwIfAborted();
  const silent = heard.flatMap((found) => ('answers' in found ? [] : found));
  const present = heard.flatMap((found) => ('answers' in found ? found : []));
  if (present.length === 0) {
    const why = silent.map(({ peer, message }) => `${peer}: ${message}`).join('; ');
    throw new ParleyError('SERVICE_UNAVAILABLE', `No peer answered (${why})`);
  }
  const answers = questions.map((line, index) => {
    const given = present.map(({ peer, version, answers: all }) => {
      return { peer, version, answer: all.get(String(index)) };
    });
    const said = given.flatMap(({ peer, version, answer }) =>
      answer?.ok ? toSaying(peer, version, answer) : [],
    );
    const failures = given.flatMap(({ peer, answer }) =>
      answer?.ok === false ? { peer, message: answer.failure.message } : [],
    );
    return { ...line, ...vote(said), said, failures };
  });
  return { answers, silent };
}

async function listen(
  { questions, maxTokens, requestId, deadlineMs, signal }: MeshQuestions,
  peer: AskedPeer,
): Promise<Heard | Silence> {
  const late = AbortSignal.timeout(deadlineMs);
  try {
    const { answers, version } = await askPeer({
      peer,
      requestId,
      deadlineMs,
      items: questions.map(({ question }, index) => ({ itemId: String(index), question })),
      sampling: { temperature: 0, topP: 1, maxTokens },
      signal: AbortSignal.any([signal, late]),
      onAnswer: () => undefined,
    });
    return { peer: peer.name, version, answers };
  } catch (error) {
    const message = late.aborted
      ? `no answer within ${deadlineMs / 1000} s`
      : ParleyError.from(error).message;
    return { peer: peer.name, message };
  }
}

function toSaying(peer: string, version: bigint, { completion }: Answer & { ok: true }): Saying {
  const { text, logProb } = completion;
  const found = findAnswer(text, DEFAULT_ANSWERS);
  return { peer, version, answer: found && canonicalAnswer(found.answer), text, logProb };
}

function vote(said: readonly Saying[]): Pick<MeshAnswer, 'answer' | 'votes' | 'chosen'> {
  const counted = countVotes(said);
  if (counted) return { answer: counted.best.answer, votes: counted.votes, chosen: counted.best };
  const [chosen] = [...said].sort((a, b) => b.logProb - a.logProb);
  return { answer: null, votes: 0, chosen };
}
