import { create } from '@bufbuild/protobuf';
import { GuardVerdictSchema } from '@parley/contracts';
import type { GuardVerdict, RoundGenerated } from '@parley/contracts';
import { stoppedBy, toAnsweredQuestion } from '@parley/mesh';
import { gateQuestion, judgePeer } from '@parley/pst';
import type { Recipe, RejectionReason } from '@parley/pst';
import { signalsOf } from './peer-signals.js';

/** Fewest peers that can still learn from one another. */
const MIN_LEARNING_PEERS = 2;

/**
 * The verdicts on a round: one for each collapse guard that fires on a peer that still learns, one for each gate that
 * skipped questions, and one on the whole run if too few peers are left. A pure function of the two rounds, so that a
 * round that is made again is judged again alike.
 *
 * @param first - the run's round 0
 * @param stopped - names of peers that learn no more
 */
export function judgeRound(
  recipe: Recipe,
  first: RoundGenerated,
  round: RoundGenerated,
  stopped: ReadonlySet<string>,
): GuardVerdict[] {
  const common = { runId: round.runId, round: round.round };
  const collapsed = round.peers.flatMap(({ name }, peer) => {
    if (stopped.has(name)) return [];
    const verdicts = judgePeer(recipe.guards, name, signalsOf(first, peer), signalsOf(round, peer));
    return verdicts.map(({ baseline, ...verdict }) =>
      create(GuardVerdictSchema, {
        ...common,
        ...verdict,
        peer: name,
        ...(baseline !== null && { baseline }),
      }),
    );
  });
  const verdicts = [...collapsed, ...gateVerdicts(recipe, round)];
  const newlyStopped = stoppedBy(collapsed);
  const learning = round.peers.filter(({ name }) => !stopped.has(name) && !newlyStopped.has(name)).length;
  if (newlyStopped.size === 0 || learning >= MIN_LEARNING_PEERS) return verdicts;
  const pause = create(GuardVerdictSchema, {
    ...common,
    guard: 'learningPeers',
    value: learning,
    threshold: MIN_LEARNING_PEERS,
    action: 'pause-run',
    message: `${learning} of ${round.peers.length} peers still learn; the run is paused`,
  });
  return [...verdicts, pause];
}

/** One verdict a gate, with the share of the questions that it skipped. */
function gateVerdicts({ guards, generation }: Recipe, round: RoundGenerated): GuardVerdict[] {
  const peers = round.peers.map((peer) => peer.name);
  const skipped = round.items.flatMap((item) => {
    const { rejection, finalAnswer } = item.aggregate ?? {};
    if (!GATE_REJECTIONS.has(rejection ?? '') || finalAnswer === undefined) return [];
    const { responses } = toAnsweredQuestion(item, peers, generation.context);
    return gateQuestion(guards, responses, finalAnswer) ?? [];
  });
  const guardNames = [...new Set(skipped.map((verdict) => verdict.guard))].sort();
  return guardNames.map((guard) => {
    const same = skipped.filter((verdict) => verdict.guard === guard);
    return create(GuardVerdictSchema, {
      runId: round.runId,
      round: round.round,
      guard,
      value: same.length / round.items.length,
      threshold: same[0].threshold,
      action: 'skip-item',
      message: `${same.length} of ${round.items.length} questions are not trained on; the first because ${same[0].message}`,
    });
  });
}

const GATE_REJECTIONS: ReadonlySet<string> = new Set<RejectionReason>([
  'agreement-gate',
  'no-independent-support',
]);
