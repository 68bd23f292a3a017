import { deepEqual, equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createLedger } from './ledger.js';
import type { LedgerRecord } from './ledger.js';

const ids = fc.oneof(
  fc
    .tuple(fc.constantFrom('a', 'b', '__proto__'), fc.nat(12), fc.constantFrom('ant', 'bee'))
    .map(([run, round, peer]) => `${run}/${round}/${peer}`),
  fc.constantFrom('a/01/ant', 'a/-1/ant', 'a/1/2/ant', 'a//ant', 'ant', '', 'toString', '__proto__'),
);

test('a ledger tells what a map of update ids tells, before and after it is written down', () => {
  fc.assert(
    fc.property(fc.uniqueArray(ids), fc.array(fc.nat(3)), (updateIds, gaps) => {
      const wanted = new Map<string, number>();
      let ledger = createLedger('ant');
      let version = 0;
      for (const [index, id] of updateIds.entries()) {
        version += 1 + (gaps[index] ?? 0);
        wanted.set(id, version);
        ledger = ledger.withUpdate(id, version);
      }
      const again = createLedger('ant', JSON.parse(JSON.stringify(ledger.toRecord())) as LedgerRecord);
      for (const read of [ledger, again]) {
        equal(read.updatesApplied, wanted.size);
        for (const [id, made] of wanted) equal(read.versionOfUpdate(id), made, id);
        equal(read.versionOfUpdate('a/13/ant'), undefined);
      }
      deepEqual(again.toRecord(), ledger.toRecord());
    }),
  );
});

test('a thousand rounds in order are one stretch', () => {
  let ledger = createLedger('ant').withRestore('back', 1);
  for (let round = 0; round < 1000; round++) ledger = ledger.withUpdate(`run-1/${round}/ant`, round + 2);
  deepEqual(ledger.toRecord(), { runs: { 'run-1': [[0, 999, 2]] }, others: {}, restores: { back: 1 } });
});

test('rounds that come out of order are joined once the gap closes, if their versions allow it', () => {
  const open = createLedger('ant').withUpdate('r/0/ant', 1).withUpdate('r/2/ant', 3);
  deepEqual(open.toRecord().runs, {
    r: [
      [0, 0, 1],
      [2, 2, 3],
    ],
  });
  deepEqual(open.withUpdate('r/1/ant', 2).toRecord().runs, { r: [[0, 2, 1]] });
  deepEqual(open.withUpdate('r/1/ant', 9).toRecord().runs, {
    r: [
      [0, 0, 1],
      [1, 1, 9],
      [2, 2, 3],
    ],
  });
});

test('an update and a restore of the same name do not meet, and neither is taken twice', () => {
  const ledger = createLedger('ant').withUpdate('x', 1).withRestore('x', 2);
  equal(ledger.versionOfUpdate('x'), 1);
  equal(ledger.versionOfRestore('x'), 2);
  equal(ledger.updatesApplied, 1);
  throws(() => ledger.withUpdate('x', 3), /x is in the ledger already/);
  throws(() => ledger.withRestore('x', 3), /x is in the ledger already/);
});

test('a ledger leaves the one it came from as it was', () => {
  const before = createLedger('ant').withUpdate('r/0/ant', 1);
  before.withUpdate('r/1/ant', 2);
  equal(before.versionOfUpdate('r/1/ant'), undefined);
});

test('a record of another form is refused', () => {
  for (const record of [
    null,
    {},
    { runs: { r: [[2, 1, 0]] }, others: {}, restores: {} },
    { runs: {}, others: { x: -1 }, restores: {} },
  ]) {
    throws(() => createLedger('ant', record as unknown as LedgerRecord), /does not have the form/);
  }
});
