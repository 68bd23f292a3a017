import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { judgePeer } from './guards.js';
import { monitorSignals } from './monitor.js';
import type { MonitorAnswers } from './monitor.js';
import { createRandom } from './random.js';
import { PAPER } from './recipe.js';

/** Answers by peer; `?` is a text without one, `!` a failure, and of two characters the second is the sample. */
function said(lists: Record<string, string>): Map<string, MonitorAnswers> {
  const one = (text: string) => {
    if (text === '!') return null;
    const [answer, sampled] = [text[0], text[1] ?? text[0]].map((found) => (found === '?' ? null : found));
    return { answer, sampled, meanEntropy: 0.5, tokens: 10 };
  };
  return new Map(Object.entries(lists).map(([peer, list]) => [peer, list.split(' ').map(one)]));
}

describe('monitor signals', () => {
  const initial = said({ ant: '1 1 1 1', bee: '1 2 1 ?', cat: '1 2 3 1' });

  it('hold a peer against the vote of the others at the start, where they had one', () => {
    const signals = monitorSignals('ant', said({ ant: '1 2 3 1', bee: '1 2 3 1' }), initial);
    assert.deepEqual(signals.frozenMatches, [true, true, null, null]);
    assert.equal(signals.frozenAgreement, 1);
    assert.equal(signals.peerAgreement, 1);
    assert.deepEqual(monitorSignals('ant', initial, initial).frozenMatches, [true, false, null, null]);
  });

  it('measure form and consistency, and leave failed answers out', () => {
    const signals = monitorSignals('ant', said({ ant: '1 12 ? !', bee: '1 2 3 4' }), initial);
    assert.equal(signals.parseable, 2 / 3);
    assert.equal(signals.canaryConsistency, 1 / 3);
    assert.equal(signals.peerAgreement, 1 / 3);
    assert.deepEqual([signals.meanTokens, signals.meanEntropy], [10, 0.5]);
    const silent = monitorSignals('ant', said({ ant: '! ! ! !' }), initial);
    assert.deepEqual(
      [silent.meanTokens, silent.parseable, silent.frozenAgreement, silent.canaryConsistency],
      [null, null, null, null],
    );
  });
});

describe('the frozen peers as judges', () => {
  /** Of `runs` runs of three peers, in how many any look fired. Peers change their minds, and are as good as `skill`. */
  function alarms(runs: number, { looks = 10, churn = 0.1, skill = (_look: number) => 0.6 }): number {
    const questions = 100;
    const guards = { ...PAPER.guards, frozenAgreementDrop: 0.03 };
    const peers = ['ant', 'bee', 'cat'];
    const outcomes = Array.from({ length: runs }, (_, run) => {
      const random = createRandom(BigInt(run));
      const answer = (look: number) => {
        const text = String(random.float() < skill(look) ? 0 : random.integer(1, 4));
        return { answer: text, sampled: text, meanEntropy: 1, tokens: 5 };
      };
      const initial = new Map(
        peers.map((peer) => [peer, Array.from({ length: questions }, () => answer(0))] as const),
      );
      let current = initial;
      for (let look = 1; look <= looks; look++) {
        current = new Map(
          [...current].map(
            ([peer, list]) =>
              [peer, list.map((old) => (random.float() < churn ? answer(look) : old))] as const,
          ),
        );
        const fires = peers.some(
          (peer) =>
            judgePeer(
              { ...guards, entropyDrop: null, lengthDrift: null, parseableDrop: null },
              peer,
              monitorSignals(peer, initial, initial),
              monitorSignals(peer, current, initial),
            ).length > 0,
        );
        if (fires) return true;
      }
      return false;
    });
    return outcomes.filter(Boolean).length / runs;
  }

  it('raise a false alarm in fewer than one run of twenty, however often they look and answers change', () => {
    for (const options of [{}, { looks: 30, churn: 0.3 }]) {
      const share = alarms(100, options);
      assert.ok(share <= 0.05, `${JSON.stringify(options)}: ${share}`);
    }
  });

  it('see a collapse', () => {
    const share = alarms(20, { churn: 0.3, skill: (look) => (look === 0 ? 0.6 : 0.2) });
    assert.ok(share >= 0.95, String(share));
  });
});
