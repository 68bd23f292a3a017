import { duration, percent, plural } from '../output/format.js';
import { renderTable } from '../output/text-table.js';
import type { RunRecord } from './run-record.js';

/** A finished run for people: how each peer learned, and the totals. */
export function renderRunSummary(record: RunRecord): string {
  const { history, peers } = record;
  const rows = peers.map(({ name, architecture, firstVersion, lastVersion }) => {
    const updates = history.rounds
      .map(({ updates }) => updates[name])
      .filter((update) => update !== undefined);
    const trained = updates.filter(({ steps }) => steps > 0);
    const losses = trained.map(({ meanLoss }) => meanLoss.toFixed(3));
    return [
      name,
      architecture,
      `${firstVersion} → ${lastVersion}`,
      String(updates.reduce((sum, { items }) => sum + items, 0)),
      losses.length === 0 ? '–' : `${losses[0]} → ${losses.at(-1)}`,
    ];
  });
  const table = renderTable(
    [
      { heading: 'peer' },
      { heading: 'architecture' },
      { heading: 'version', align: 'right' },
      { heading: 'items learnt', align: 'right' },
      { heading: 'loss', align: 'right' },
    ],
    rows,
  );
  const [first, last] = [history.rounds.at(0), history.rounds.at(-1)];
  const agreement =
    first && last
      ? `; all agreed on ${percent(first.agreement ?? NaN)} → ${percent(last.agreement ?? NaN)}`
      : '';
  return [
    table,
    '',
    `${plural(record.rounds, 'round')} on ${plural(record.prompts.count, 'question')}${agreement}`,
    `${record.updatesPublished} updates published, ${record.updatesApplied} applied, in ${duration(record.wallSeconds)}`,
    ...(record.stateReason === '' ? [] : [`${record.state}: ${record.stateReason}`]),
  ].join('\n');
}
