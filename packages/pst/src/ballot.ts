import { compareText, logSumExp } from './numbers.js';
import type { AggregateRecipe } from './recipe.js';
import type { AnsweredQuestion, PeerResponse } from './round.js';

/** What a strategy finds in one question, before gates and guards. */
export interface Finding {
  readonly answer: string | null;
  readonly chosen: number | null;
  readonly margin: number;
}

/** A strategy sees a whole round, since trust is learned across questions. */
export type Aggregator = (
  questions: readonly AnsweredQuestion[],
  recipe: AggregateRecipe,
  seed: bigint,
) => Finding[];

/** No response had a final answer. */
export const NOTHING: Finding = { answer: null, chosen: null, margin: 0 };

/** log Σ exp(mass) over the responses carrying each answer. NaN counts as no mass. */
export function massByAnswer(
  responses: readonly PeerResponse[],
  logMass: (response: PeerResponse) => number,
): Map<string, number> {
  const parts = new Map<string, number[]>();
  for (const response of responses) {
    if (response.answer === null) continue;
    const mass = logMass(response);
    parts.set(response.answer, [
      ...(parts.get(response.answer) ?? []),
      Number.isNaN(mass) ? -Infinity : mass,
    ]);
  }
  // Sorted, so that rounding does not depend on who answered first.
  return new Map([...parts].map(([answer, logs]) => [answer, logSumExp(logs.sort((a, b) => a - b))]));
}

/**
 * The answer with the greatest mass, its share of the total, and the response that stands for it: the finished one
 * its author found likeliest (ties: the smaller peer name).
 */
export function heaviest(
  responses: readonly PeerResponse[],
  logMass: ReadonlyMap<string, number>,
  tieBreak: ReadonlyMap<string, number> = new Map(),
): Finding {
  const tie = (answer: string): number => tieBreak.get(answer) ?? 0;
  const [answer] = [...logMass.keys()].sort(
    (a, b) => descending(logMass.get(a)!, logMass.get(b)!) || descending(tie(a), tie(b)) || compareText(a, b),
  );
  if (answer === undefined) return NOTHING;
  const total = logSumExp([...logMass.values()].sort((a, b) => a - b));
  const [chosen] = responses
    .map((response, index) => ({ response, index }))
    .filter(({ response }) => response.answer === answer && response.finished)
    .sort(
      (a, b) =>
        descending(a.response.logLikelihood, b.response.logLikelihood) ||
        compareText(a.response.peer, b.response.peer),
    );
  const share = Math.exp(logMass.get(answer)! - total);
  return { answer, chosen: chosen?.index ?? null, margin: Number.isFinite(share) ? Math.min(1, share) : 0 };
}

/** Comparator for numbers, greatest first; equal infinities are equal, NaN is least. */
function descending(a: number, b: number): number {
  const x = Number.isNaN(a) ? -Infinity : a;
  const y = Number.isNaN(b) ? -Infinity : b;
  return x === y ? 0 : x > y ? -1 : 1;
}
