/** Rounds `first` to `last` of one run, applied one after the other: round r made version `version + r - first`. */
type Stretch = readonly [first: number, last: number, version: number];

/** A ledger as it is kept in the head's metadata. */
export interface LedgerRecord {
  /** Stretches by run, in order of rounds. */
  runs: Record<string, Stretch[]>;
  /** Versions by update id, for ids that are not `<run>/<round>/<this peer>`. */
  others: Record<string, number>;
  /** Versions by request id of a restore. */
  restores: Record<string, number>;
}

/**
 * Which updates and restores took effect, and the version each made. Immutable: a commit writes the next ledger beside
 * the weights, and only then it becomes the current one. A run whose rounds are applied in order costs a few bytes, however
 * many there are.
 */
export interface Ledger {
  /** Updates in the ledger. */
  readonly updatesApplied: number;
  /** The version that the update made; `undefined` if it was never applied. */
  versionOfUpdate(updateId: string): number | undefined;
  /** The version that the restore made; `undefined` if it was never made. */
  versionOfRestore(requestId: string): number | undefined;
  /** The ledger with one more update. @throws RangeError if it has the update already */
  withUpdate(updateId: string, version: number): Ledger;
  /** The ledger with one more restore. @throws RangeError if it has the restore already */
  withRestore(requestId: string, version: number): Ledger;
  /** For the head's metadata; equal ledgers give equal records. */
  toRecord(): LedgerRecord;
}

const EMPTY: LedgerRecord = { runs: {}, others: {}, restores: {} };

/**
 * The ledger of `peer` with the content of a record, empty unless given.
 *
 * @throws TypeError if the record does not have the shape of {@link LedgerRecord}
 */
export function createLedger(peer: string, record: LedgerRecord = EMPTY): Ledger {
  checkRecord(record);
  return build(
    peer,
    new Map(Object.entries(record.runs)),
    new Map(Object.entries(record.others)),
    new Map(Object.entries(record.restores)),
  );
}

function build(
  peer: string,
  runs: ReadonlyMap<string, readonly Stretch[]>,
  others: ReadonlyMap<string, number>,
  restores: ReadonlyMap<string, number>,
): Ledger {
  let updatesApplied = others.size;
  for (const stretches of runs.values())
    for (const [first, last] of stretches) updatesApplied += last - first + 1;

  const versionOfUpdate = (updateId: string): number | undefined => {
    const place = placeOf(peer, updateId);
    if (place === undefined) return others.get(updateId);
    const stretch = runs.get(place.run)?.find(([first, last]) => first <= place.round && place.round <= last);
    return stretch && stretch[2] + place.round - stretch[0];
  };
  return {
    updatesApplied,
    versionOfUpdate,
    versionOfRestore: (requestId) => restores.get(requestId),
    withUpdate(updateId, version) {
      if (versionOfUpdate(updateId) !== undefined)
        throw new RangeError(`Update ${updateId} is in the ledger already`);
      const place = placeOf(peer, updateId);
      if (place === undefined) return build(peer, runs, new Map(others).set(updateId, version), restores);
      const stretches = [...(runs.get(place.run) ?? []), [place.round, place.round, version] as const];
      return build(peer, new Map(runs).set(place.run, joined(stretches)), others, restores);
    },
    withRestore(requestId, version) {
      if (restores.has(requestId)) throw new RangeError(`Restore ${requestId} is in the ledger already`);
      return build(peer, runs, others, new Map(restores).set(requestId, version));
    },
    toRecord: () => ({
      runs: sortedRecord(runs, (stretches) => [...stretches]),
      others: sortedRecord(others, (version) => version),
      restores: sortedRecord(restores, (version) => version),
    }),
  };
}

/** Run and round of an id of the mesh's own form, which alone is what stretches can hold without loss. */
function placeOf(peer: string, updateId: string): { run: string; round: number } | undefined {
  const [, run, digits] = /^([^/]+)\/(0|[1-9]\d{0,14})\/[^/]+$/.exec(updateId) ?? [];
  if (run === undefined || !updateId.endsWith(`/${peer}`)) return undefined;
  return { run, round: Number(digits) };
}

/** Sorts stretches by round and joins neighbours whose versions go on where the ones before end. */
function joined(stretches: readonly Stretch[]): Stretch[] {
  const result: Stretch[] = [];
  for (const next of stretches.toSorted((a, b) => a[0] - b[0])) {
    const last = result.at(-1);
    const goesOn = last && last[1] + 1 === next[0] && last[2] + next[0] - last[0] === next[2];
    if (goesOn) result[result.length - 1] = [last[0], next[1], last[2]];
    else result.push(next);
  }
  return result;
}

function sortedRecord<T, U>(map: ReadonlyMap<string, T>, value: (item: T) => U): Record<string, U> {
  const entries = [...map].sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, value(item)]));
}

function checkRecord(record: unknown): asserts record is LedgerRecord {
  const { runs, others, restores } = Object(record) as Record<string, unknown>;
  const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
  const isStretch = (value: unknown) =>
    Array.isArray(value) && value.length === 3 && value.every(isCount) && value[0] <= value[1];
  const holds = (value: unknown, test: (item: unknown) => boolean) =>
    typeof value === 'object' && value !== null && Object.values(value).every(test);
  const sound =
    holds(runs, (stretches) => Array.isArray(stretches) && stretches.every(isStretch)) &&
    holds(others, isCount) &&
    holds(restores, isCount);
  if (!sound) throw new TypeError('The ledger does not have the form {runs, others, restores}');
}
