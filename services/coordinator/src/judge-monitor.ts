import { create } from '@bufbuild/protobuf';
import { GuardVerdictSchema } from '@parley/contracts';
import type { GuardVerdict, MonitorMeasured } from '@parley/contracts';
import { quarantinedBy, stoppedBy } from '@parley/mesh';
import type { MonitorHistory } from '@parley/mesh';
import { judgePeer } from '@parley/pst';
import type { Recipe } from '@parley/pst';
import { tooFewLeft } from './too-few-left.js';

/** What the verdicts on a measurement depend on. */
export interface MonitorCase {
  recipe: Recipe;
  /** Names of the run's peers. */
  peers: readonly string[];
  /** The measurement that is judged. */
  measured: MonitorMeasured;
  /** Every measurement so far, this one included. */
  history: MonitorHistory;
  /** Verdicts of earlier measurements. */
  earlier: readonly GuardVerdict[];
  /** No round comes after this measurement. */
  last: boolean;
}

/**
 * The verdicts on the peers of the last measurement, and one on the whole run if too few peers are left. A peer that was
 * rolled back and is still no better has something other than an update to blame: it is left out. A pure function of
 * durable messages, so that a measurement is judged alike whoever goes on from it.
 */
export function judgeMonitor({
  recipe,
  peers,
  measured,
  history,
  earlier,
  last,
}: MonitorCase): GuardVerdict[] {
  const { runId, round, peers: asked } = measured;
  const stopped = stoppedBy(earlier);
  const quarantined = new Set(quarantinedBy(earlier).keys());
  const judged = asked.filter(
    ({ name, missing }) =>
      missing === undefined &&
      !quarantined.has(name) &&
      !(recipe.guards.action === 'stop' && stopped.has(name)),
  );
  const verdicts = judged.flatMap(({ name, version }) =>
    judgePeer(recipe.guards, name, history.start(name)!, history.now(name, quarantined)).map(
      ({ baseline, action, ...verdict }) =>
        create(GuardVerdictSchema, {
          ...verdict,
          runId,
          round,
          peer: name,
          version,
          action: action === 'rollback-peer' && stopped.has(name) ? 'quarantine-peer' : action,
          ...(baseline !== null && { baseline }),
        }),
    ),
  );
  if (last) return verdicts;
  return [...verdicts, ...tooFewLeft({ runId, round, recipe, peers }, earlier, verdicts)];
}
