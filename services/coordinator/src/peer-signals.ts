import type { Completion, RoundGenerated } from '@parley/contracts';
import type { PeerSignals } from '@parley/pst';

/**
 * What a round tells about one peer, without labels. Agreement with the frozen peers and consistency are told by a
 * monitor pool alone: no two rounds have the same questions.
 *
 * @param peer - index in the run's list
 */
export function signalsOf(round: RoundGenerated, peer: number): PeerSignals {
  const answers = round.items.map((item) => item.responses[peer]);
  const completions = answers.flatMap(({ outcome }) =>
    outcome.case === 'completion' ? [outcome.value] : [],
  );
  const parseable = answers.filter((answer) => answer.finalAnswer !== undefined).length;
  const agreeing = round.items.filter(({ responses }) => {
    const { finalAnswer } = responses[peer];
    return (
      finalAnswer !== undefined &&
      responses.some((other, index) => index !== peer && other.finalAnswer === finalAnswer)
    );
  }).length;
  const share = (count: number) => (completions.length === 0 ? null : count / completions.length);
  return {
    meanEntropy: meanOf(completions, (completion) => completion.meanEntropy),
    meanTokens: meanOf(completions, (completion) => completion.completionTokens),
    parseable: share(parseable),
    peerAgreement: share(agreeing),
    frozenAgreement: null,
    frozenMatches: null,
    canaryConsistency: null,
  };
}

/** Share of the questions on which all peers that answered gave the same final answer. */
export function unanimity(round: RoundGenerated): number {
  const unanimous = round.items.filter(({ responses }) => {
    const answers = responses.filter(({ outcome }) => outcome.case === 'completion');
    const [first] = answers;
    return (
      first?.finalAnswer !== undefined && answers.every((other) => other.finalAnswer === first.finalAnswer)
    );
  }).length;
  return round.items.length === 0 ? 0 : unanimous / round.items.length;
}

function meanOf(
  completions: readonly Completion[],
  value: (completion: Completion) => number,
): number | null {
  if (completions.length === 0) return null;
  return completions.reduce((sum, completion) => sum + value(completion), 0) / completions.length;
}
