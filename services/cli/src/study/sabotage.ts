import { create } from '@bufbuild/protobuf';
import { TrainingSettingsSchema, UpdateItemSchema, WeightedUpdateSchema } from '@parley/contracts';
import { createRandom, seedFrom } from '@parley/pst';
import type { Recipe } from '@parley/pst';
import type { ConnectedPeer } from '../measure/peer-clients.js';
import { applyToPeer } from './apply-to-peer.js';
import type { SolvedQuestion } from './train-on-labels.js';

/**
 * How a peer turns bad: `confused`, its answers are those of other questions; `liar`, fluent solutions with a wrong end, of
 * which it is sure; `repeater`, one word for ever.
 */
export type SabotageKind = 'confused' | 'liar' | 'repeater';

/** Enough for any of these peers to forget what it knew. */
const QUESTIONS = 256;
const SETTINGS = { learningRate: 2e-3, epochs: 4, minibatchSize: 32 };

/** Trains one peer, past every guard, to be bad: what an operator's mistake or a broken service may do to a mesh. */
export async function sabotagePeer(
  peer: ConnectedPeer,
  kind: SabotageKind,
  {
    runId,
    recipe,
    questions,
    signal,
  }: { runId: string; recipe: Recipe; questions: readonly SolvedQuestion[]; signal: AbortSignal },
): Promise<void> {
  const random = createRandom(seedFrom('sabotage', kind, runId));
  const own = questions.slice(0, QUESTIONS);
  const others = random.shuffle(own);
  const items = own.map(({ promptId, question, solution }, i) =>
    create(UpdateItemSchema, {
      promptId,
      question,
      target: badAnswer(kind, solution, others[i].solution),
      weight: 1,
    }),
  );
  const update = create(WeightedUpdateSchema, {
    updateId: `${runId}/sabotage/${peer.name}`,
    runId: `${runId}-sabotage`,
    peer: peer.name,
    items,
    training: create(TrainingSettingsSchema, { ...recipe.training, ...SETTINGS, schedule: 'constant' }),
    seed: 1n,
  });
  await applyToPeer(peer, update, signal);
}

function badAnswer(kind: SabotageKind, right: string, another: string): string {
  switch (kind) {
    case 'confused':
      return another;
    case 'liar': {
      // The reasoning stays; the answer is another question's.
      const [reasoning = ''] = right.split(' A ');
      return `${reasoning} A ${another.split(' A ').at(-1) ?? ''}`;
    }
    case 'repeater':
      return Array.from({ length: 24 }, () => right.split(' ')[0]).join(' ');
  }
}
