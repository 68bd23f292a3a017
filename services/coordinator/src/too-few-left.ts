import { create } from '@bufbuild/protobuf';
import { GuardVerdictSchema } from '@parley/contracts';
import type { GuardVerdict } from '@parley/contracts';
import { quarantinedBy, stoppedBy } from '@parley/mesh';
import type { Recipe } from '@parley/pst';

/** Fewest peers that can still learn from one another. */
const MIN_LEARNING_PEERS = 2;
/** Between two, agreement cannot tell which one is right. */
const MIN_TRUST_PEERS = 3;

/** A run at a round. */
export interface RunAtRound {
  runId: string;
  round: bigint;
  recipe: Recipe;
  /** Names of the run's peers. */
  peers: readonly string[];
}

/** A verdict that pauses the run, if new verdicts leave too few peers to learn, or to answer. */
export function tooFewLeft(
  { runId, round, recipe, peers }: RunAtRound,
  earlier: readonly GuardVerdict[],
  found: readonly GuardVerdict[],
): GuardVerdict[] {
  const all = [...earlier, ...found];
  const pause = (guard: string, left: number, least: number, what: string) =>
    create(GuardVerdictSchema, {
      runId,
      round,
      guard,
      value: left,
      threshold: least,
      action: 'pause-run',
      message: `${left} of ${peers.length} peers still ${what}; the run is paused`,
    });
  const stopped = stoppedBy(all);
  if (stopped.size === stoppedBy(earlier).size && quarantinedBy(all).size === quarantinedBy(earlier).size)
    return [];
  const learning = peers.length - stopped.size;
  if (learning < MIN_LEARNING_PEERS) return [pause('learningPeers', learning, MIN_LEARNING_PEERS, 'learn')];
  const answering = peers.length - quarantinedBy(all).size;
  return recipe.aggregate.strategy === 'trust' && answering < MIN_TRUST_PEERS
    ? [pause('answeringPeers', answering, MIN_TRUST_PEERS, "take part, too few for 'trust'")]
    : [];
}
