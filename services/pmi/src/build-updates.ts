import { create } from '@bufbuild/protobuf';
import { TrainingSettingsSchema, UpdateItemSchema, WeightedUpdateSchema } from '@parley/contracts';
import type { RoundScored, WeightedUpdate } from '@parley/contracts';
import { toAlgorithm } from '@parley/mesh';
import { buildUpdate, seedFrom } from '@parley/pst';
import type { ScoringTask } from './score-round.js';

/**
 * What every peer of a round is to learn: the items with a weight, or nothing. A pure function of durable messages, so
 * that a scorer that is replaced half-way publishes the same updates.
 *
 * @param scored - the scores of the task's round; its weights are what counts
 */
export function buildUpdates(
  { round, recipe, seed, previous }: ScoringTask,
  scored: RoundScored,
): WeightedUpdate[] {
  const algorithm = toAlgorithm(round, recipe);
  const index = Number(round.round);
  return round.peers.map(({ name, version }, peer) => {
    const scores = scored.peers[peer];
    const update = buildUpdate(recipe, {
      peer: name,
      ...algorithm,
      pmi: scores.items.map((item) => item.normalizedPmi ?? null),
      recentMedians: previous?.peers[peer]?.recentMedians ?? [],
      seed: seedFrom(seed, 'score', index),
    });
    const weights = new Map(round.items.map((item, i) => [item.promptId, scores.items[i]]));
    const items = update.items.flatMap((item) => {
      const { weight, anchorWeight } = weights.get(item.promptId)!;
      return weight > 0 || anchorWeight > 0
        ? create(UpdateItemSchema, { ...item, weight, anchorWeight })
        : [];
    });
    return create(WeightedUpdateSchema, {
      updateId: `${round.runId}/${round.round}/${name}`,
      runId: round.runId,
      round: round.round,
      peer: name,
      items,
      training: create(TrainingSettingsSchema, {
        ...recipe.training,
        anchorReference: recipe.anchor.reference,
      }),
      seed: seedFrom(seed, 'update', index, name),
      ...(version !== undefined && { generatedVersion: version }),
    });
  });
}
