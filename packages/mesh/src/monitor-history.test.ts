import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { GuardVerdictSchema, MonitorMeasuredSchema } from '@parley/contracts';
import type { MonitorMeasured } from '@parley/contracts';
import { createMonitorHistory } from './monitor-history.js';

/** A measurement: by peer its version, then one digit a question as its answers. */
function measured(said: Record<string, [version: number, answers: string]>): MonitorMeasured {
  return create(MonitorMeasuredSchema, {
    runId: 'r1',
    peers: Object.entries(said).map(([name, [version, answers]]) => ({
      name,
      version: BigInt(version),
      answers: [...answers].map((finalAnswer) => ({
        finalAnswer,
        sampledAnswer: finalAnswer,
        completionTokens: 1,
      })),
    })),
  });
}

function historyOf(...all: MonitorMeasured[]) {
  const history = createMonitorHistory();
  for (const one of all) history.add(one);
  return history;
}

const verdictOn = (peer: string, version: number) =>
  create(GuardVerdictSchema, { peer, version: BigInt(version) });

describe('the history of a monitor pool', () => {
  const start = measured({ ant: [0, '1234'], bee: [0, '1234'], cat: [0, '1230'] });

  it('holds what a peer says now against the vote at the start', () => {
    const history = historyOf(
      start,
      measured({ ant: [1, '1200'] }),
      measured({ ant: [2, '1000'], bee: [1, '1200'] }),
    );
    assert.equal(history.start('ant')?.frozenAgreement, 1);
    assert.equal(history.now('ant', new Set()).frozenAgreement, 1 / 4);
    assert.equal(history.now('cat', new Set()).frozenAgreement, 3 / 4);
    assert.deepEqual(
      ['ant', 'bee', 'cat', 'dog'].map((peer) => history.versionOf(peer)),
      [2n, 1n, 0n, undefined],
    );
    assert.equal(history.start('dog'), undefined);
  });

  it('leaves the quarantined out of what the peers agree on', () => {
    const history = historyOf(start);
    assert.equal(history.now('cat', new Set()).peerAgreement, 3 / 4);
    assert.equal(history.now('cat', new Set(['ant', 'bee'])).peerAgreement, 0);
  });

  it('goes back to the newest version that no verdict speaks of and that had not begun to fall', () => {
    const fallen = [
      start,
      measured({ cat: [1, '1234'] }),
      measured({ cat: [2, '1233'] }),
      measured({ cat: [3, '1000'] }),
    ];
    assert.equal(historyOf(...fallen).lastGood('cat', [verdictOn('cat', 3)]), 2n);
    assert.equal(historyOf(...fallen).lastGood('cat', [verdictOn('cat', 3), verdictOn('cat', 2)]), 1n);
    assert.equal(historyOf(...fallen).lastGood('cat', [verdictOn('ant', 2), verdictOn('cat', 3)]), 2n);
    assert.equal(historyOf(start, measured({ ant: [1, '0000'] })).lastGood('ant', []), 0n);
    assert.equal(historyOf(start).lastGood('dog', []), undefined);
  });

  it('is not changed by what is added to its copy', () => {
    const history = historyOf(start);
    const copy = history.copy();
    copy.add(measured({ ant: [1, '0000'] }));
    assert.deepEqual([history.versionOf('ant'), copy.versionOf('ant')], [0n, 1n]);
    assert.equal(history.now('ant', new Set()).frozenAgreement, 1);
    assert.equal(copy.now('ant', new Set()).frozenAgreement, 0);
    history.add(measured({ ant: [2, '1234'] }));
    assert.equal(copy.versionOf('ant'), 1n);
  });
});
