import { create } from '@bufbuild/protobuf';
import { GuardVerdictSchema } from '@parley/contracts';
import type { GuardVerdict, RoundGenerated } from '@parley/contracts';
import { stoppedBy, toAnsweredQuestion } from '@parley/mesh';
import { gateQuestion, judgePeer } from '@parley/pst';
import type { Recipe, RejectionReason } from '@parley/pst';
import { signalsOf } from './peer-signals.js';
import { tooFewLeft } from './too-few-left.js';

/** A round with a smaller share of the first one's answers, as the last of a run may be, is no measure of a peer. */
const MIN_SHARE_OF_ANSWERS = 0.5;

/**
 * The verdicts on a round: one for each collapse guard that fires on a peer that still learns, one for each gate that
 * skipped questions, and one on the whole run if too few peers are left. A pure function of the rounds, so that a round
 * that is made again is judged again alike.
 *
 * @param firsts - by name, the first round that a peer took part in; peers without one are not judged
 * @param earlier - verdicts on earlier rounds; a peer that they stopped is not judged again
 */
export function judgeRound(
  recipe: Recipe,
  firsts: ReadonlyMap<string, RoundGenerated>,
  round: RoundGenerated,
  earlier: readonly GuardVerdict[],
): GuardVerdict[] {
  const stopped = stoppedBy(earlier);
  const common = { runId: round.runId, round: round.round };
  const collapsed = round.peers.flatMap(({ name, version }, peer) => {
    const first = firsts.get(name);
    if (stopped.has(name) || first === undefined) return [];
    if (answersOf(round, peer) < MIN_SHARE_OF_ANSWERS * answersOf(first, peer)) return [];
    const verdicts = judgePeer(recipe.guards, name, signalsOf(first, peer), signalsOf(round, peer));
    return verdicts.map(({ baseline, ...verdict }) =>
      create(GuardVerdictSchema, {
        ...common,
        ...verdict,
        peer: name,
        ...(version !== undefined && { version }),
        ...(baseline !== null && { baseline }),
      }),
    );
  });
  const peers = round.peers.map(({ name }) => name);
  const pauses = tooFewLeft({ ...common, recipe, peers }, earlier, collapsed);
  return [...collapsed, ...gateVerdicts(recipe, round), ...pauses];
}

function answersOf(round: RoundGenerated, peer: number): number {
  return round.items.filter(({ responses }) => responses[peer].outcome.case === 'completion').length;
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
