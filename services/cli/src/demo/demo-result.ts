import { meanChange } from '@parley/evaluation';
import type { Recipe } from '@parley/pst';
import { count, duration, percent, plural, points, pointsInterval } from '../output/format.js';
import { renderTable } from '../output/text-table.js';
import type { Measurement } from '../measure/measurement.js';
import { change, meanGap, shareCorrect } from '../measure/statistics.js';

/**
 * What a demo came to; the last line of `parley demo --json`. Accuracies, gaps, changes and their intervals are shares
 * in [0, 1] or differences of shares: 0.02 is two points.
 */
export interface DemoResult {
  peers: DemoPeerResult[];
  /** Share of held-out questions on which the majority of the peers' independent answers is right. */
  vote: { before: number; after: number };
  /** Generator–verifier gap with the likelihood as verifier, mean over the peers. */
  gvGap: { before: number; after: number };
  rounds: number;
  /** Over all peers. */
  updatesPublished: number;
  updatesApplied: number;
  wallSeconds: number;
  recipe: Recipe;
}

/** One peer before and after. */
export interface DemoPeerResult {
  name: string;
  architecture: string;
  parameters: number;
  before: number;
  after: number;
  delta: number;
  /** Of delta: paired bootstrap over the questions, 95 %. */
  ci95: [number, number];
  /** Questions answered both times. */
  n: number;
}

/** What a {@link DemoResult} is made of. */
export interface DemoResultParts {
  before: Measurement;
  after: Measurement;
  descriptions: readonly { name: string; architecture: string; parameters: bigint }[];
  rounds: number;
  updatesPublished: number;
  updatesApplied: number;
  wallSeconds: number;
  recipe: Recipe;
  /** Of the bootstrap. */
  seed: bigint;
}

export function demoResult(parts: DemoResultParts): DemoResult {
  const { before, after, descriptions, seed } = parts;
  const { rounds, updatesPublished, updatesApplied, wallSeconds, recipe } = parts;
  return {
    peers: before.peers.map((was, index) => {
      const is = after.peers[index] ?? was;
      const description = descriptions.find(({ name }) => name === was.name);
      const { delta, ci95, n } = change(was.greedy, is.greedy, seed);
      return {
        name: was.name,
        architecture: description?.architecture ?? '',
        parameters: Number(description?.parameters ?? 0n),
        before: shareCorrect(was.greedy).value,
        after: shareCorrect(is.greedy).value,
        delta,
        ci95: [ci95.low, ci95.high],
        n,
      };
    }),
    vote: { before: shareCorrect(before.vote).value, after: shareCorrect(after.vote).value },
    gvGap: { before: meanGap(before) ?? NaN, after: meanGap(after) ?? NaN },
    rounds,
    updatesPublished,
    updatesApplied,
    wallSeconds,
    recipe,
  };
}

/** Change of the mean over the peers, resampled by question. */
export function meanOverPeers(before: Measurement, after: Measurement, seed: bigint) {
  const questions = before.peers[0]?.greedy.length ?? 0;
  const differences = Array.from({ length: questions }, (_, question) => {
    const perPeer = before.peers.flatMap(({ greedy }, peer) => {
      const [was, is] = [greedy[question], after.peers[peer]?.greedy[question]];
      return was && is ? [Number(is.correct) - Number(was.correct)] : [];
    });
    return perPeer.length === 0 ? undefined : perPeer.reduce((sum, value) => sum + value, 0) / perPeer.length;
  }).filter((difference) => difference !== undefined);
  return meanChange(differences, { seed });
}

/** What the demo is expected to reach: mean change and worst peer, as differences of shares. */
export const DEMO_BAR = Object.freeze({ mean: 0.02, worst: -0.01 });

const ROUNDING = 1e-9;

/** The table that ends the demo. */
export function renderDemoResult(
  result: DemoResult,
  { before, after, seed }: Pick<DemoResultParts, 'before' | 'after' | 'seed'>,
): string {
  const mean = meanOverPeers(before, after, seed);
  const vote = change(before.vote, after.vote, seed);
  const average = (of: 'before' | 'after') =>
    result.peers.reduce((sum, peer) => sum + peer[of], 0) / result.peers.length;
  const interval = ({ low, high }: { low: number; high: number }) => pointsInterval([low, high]);
  const row = (name: string, about: string, was: number, is: number, delta: number, ci95: string) => [
    name,
    about,
    `${percent(was)} → ${percent(is)}`,
    points(delta),
    ci95,
  ];
  const table = renderTable(
    [
      { heading: 'right answers' },
      { heading: '' },
      { heading: 'before → after', align: 'right' },
      { heading: 'change', align: 'right' },
      { heading: '95 % interval', align: 'right' },
    ],
    [
      ...result.peers.map(({ name, architecture, parameters, before: was, after: is, delta, ci95 }) =>
        row(name, `${architecture}, ${count(parameters)}`, was, is, delta, pointsInterval(ci95)),
      ),
      row('mean', 'of the peers', average('before'), average('after'), mean.delta, interval(mean.ci95)),
      row('vote', 'of the peers', result.vote.before, result.vote.after, vote.delta, interval(vote.ci95)),
    ],
  );
  const { gvGap, rounds, updatesPublished, updatesApplied, wallSeconds, recipe } = result;
  const n = Math.min(...result.peers.map((peer) => peer.n));
  return [
    table,
    '',
    `Measured on ${n} held-out questions; change and interval in percentage points (paired bootstrap).`,
    `Generator–verifier gap  ${points(gvGap.before)} → ${points(gvGap.after)} points`,
    `Training                ${plural(rounds, 'round')}, ${updatesPublished} updates published, ${updatesApplied} applied, recipe "${recipe.preset}"`,
    `Time                    ${duration(wallSeconds)}`,
    barLine(mean.delta, Math.min(...result.peers.map(({ delta }) => delta))),
  ].join('\n');
}

function barLine(mean: number, worst: number): string {
  // Sums of thirds of thousandths: the bar itself counts as reached, whatever the last bit says.
  const reached = mean >= DEMO_BAR.mean - ROUNDING && worst >= DEMO_BAR.worst - ROUNDING;
  return (
    `The bar                 ${reached ? 'reached' : 'missed'}: mean ${points(mean)} (at least ${points(DEMO_BAR.mean)}), ` +
    `worst peer ${points(worst)} (at least ${points(DEMO_BAR.worst)})`
  );
}
