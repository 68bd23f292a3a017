import { create } from '@bufbuild/protobuf';
import { ContributionSchema } from '@parley/contracts';
import type { Contribution } from '@parley/contracts';
import { askPeer } from '../measure/ask-peer.js';
import { gradeAnswer } from '../measure/measurement.js';
import type { Graded, MeasurementPlan } from '../measure/measurement.js';
import type { ConnectedPeer } from '../measure/peer-clients.js';

/**
 * What the last peer of a sequence answers, greedily: each peer sees the question and the answers of those before it, as the
 * paper's recipe has it. An answer that failed is not shown on.
 *
 * @param order - indices into the peers
 */
export async function lastOfSequence(
  peers: readonly ConnectedPeer[],
  order: readonly number[],
  plan: MeasurementPlan,
  context: { signal: AbortSignal; deadlineMs: number },
): Promise<Graded[]> {
  const heard: Contribution[][] = plan.questions.map(() => []);
  let last: Graded[] = [];
  for (const speaker of order) {
    const peer = peers[speaker];
    const { answers } = await askPeer({
      ...context,
      peer,
      requestId: `sequence-${order.join('')}`,
      items: plan.questions.map(({ question }, i) => ({
        itemId: String(i),
        question,
        context: heard[i] ?? [],
      })),
      sampling: { temperature: 0, topP: 1, maxTokens: plan.maxTokens },
      onAnswer: () => undefined,
    });
    last = plan.questions.map((question, i) => {
      const answer = answers.get(String(i));
      if (!answer?.ok) return undefined;
      const { text } = answer.completion;
      heard[i].push(create(ContributionSchema, { peer: peer.name, speaker, text }));
      return gradeAnswer(answer, question, plan);
    });
  }
  return last;
}
