import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { judgePeer } from './guards.js';
import { monitorSignals } from './monitor.js';
import type { MonitorAnswers } from './monitor.js';
import { createRandom } from './random.js';
import { PAPER, TRUST_PMI } from './recipe.js';

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

  it('hold a peer against the vote of all at the start, where there was one', () => {
    const signals = monitorSignals('ant', said({ ant: '1 2 3 3', bee: '1 2 3 3' }), initial);
    assert.deepEqual(signals.frozenMatches, [true, true, false, false]);
    assert.equal(signals.frozenAgreement, 1 / 2);
    assert.equal(signals.peerAgreement, 1);
    assert.deepEqual(monitorSignals('ant', initial, initial).frozenMatches, [true, false, true, true]);
    const nobodyAgreed = said({ ant: '1', bee: '2', cat: '3' });
    assert.deepEqual(monitorSignals('ant', nobodyAgreed, nobodyAgreed).frozenMatches, [null]);
  });

  it('see a peer take over the mistakes of others, with which it agrees more than before', () => {
    const others = { bee: '1 2 1 2 1 2', cat: '5 6 7 8 9 0' };
    const before = said({ ant: '1 2 1 2 9 0', ...others });
    const after = said({ ant: '5 6 7 8 9 0', ...others });
    assert.equal(monitorSignals('ant', before, before).frozenAgreement, 1);
    const signals = monitorSignals('ant', after, before);
    assert.equal(signals.frozenAgreement, 1 / 3);
    assert.equal(signals.peerAgreement, 1);
  });

  it('hold a peer against the other one alone where only two answered', () => {
    const two = said({ ant: '1 2 3', bee: '1 2 4' });
    assert.deepEqual(monitorSignals('ant', two, two).frozenMatches, [true, true, false]);
    const failed = said({ ant: '1 2 3', bee: '1 2 4', cat: '! ! !' });
    assert.deepEqual(monitorSignals('ant', failed, failed).frozenMatches, [true, true, false]);
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

describe('the vote at the start as a judge', () => {
  /**
   * Of `runs` runs of three peers, in how many any look fired. Some questions are easy, some hard, the others a guess, as each
   * peer goes; between two looks a peer thinks again about a share of them (`churn`), with the skill it has by then.
   */
  function alarms(
    runs: number,
    {
      looks = 8,
      churn,
      easy = 0.97,
      hard,
    }: { looks?: number; churn: number; easy?: number; hard: (look: number) => number },
  ): number {
    const questions = 256;
    const peers = ['ant', 'bee', 'cat'];
    const guards = {
      ...PAPER.guards,
      frozenAgreementDrop: TRUST_PMI.guards.frozenAgreementDrop,
      entropyDrop: null,
      lengthDrift: null,
      parseableDrop: null,
    };
    const outcomes = Array.from({ length: runs }, (_, run) => {
      const random = createRandom(BigInt(run));
      const kinds = peers.map(() => Array.from({ length: questions }, () => random.float()));
      const answer = (peer: number, question: number, look: number) => {
        const kind = kinds[peer][question];
        const skill = kind < 0.6 ? (look === 0 ? 0.97 : easy) : kind < 0.7 ? 0.5 : hard(look);
        const text = String(random.float() < skill ? 0 : random.integer(1, 20));
        return { answer: text, sampled: text, meanEntropy: 1, tokens: 5 };
      };
      const all = (value: (peer: number, question: number) => MonitorAnswers[number]) =>
        new Map(
          peers.map((name, peer) => [
            name,
            Array.from({ length: questions }, (_, question) => value(peer, question)),
          ]),
        );
      const initial = all((peer, question) => answer(peer, question, 0));
      let current = initial;
      for (let look = 1; look <= looks; look++) {
        const before = current;
        current = all((peer, question) =>
          random.float() < churn ? answer(peer, question, look) : before.get(peers[peer])![question],
        );
        const fires = peers.some(
          (peer) =>
            judgePeer(
              guards,
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

  it('raises a false alarm in fewer than one run of twenty where peers learn, however often it looks', () => {
    for (const options of [
      { churn: 0.1, hard: (look: number) => (look === 0 ? 0.03 : 0.25) },
      { churn: 0.3, hard: (look: number) => (look === 0 ? 0.03 : 0.25) },
      { churn: 0.05, looks: 30, hard: (look: number) => 0.03 + 0.05 * Math.min(look, 10) },
      { churn: 0.01, looks: 10, hard: () => 0.03 },
    ]) {
      const share = alarms(100, options);
      assert.ok(share <= 0.05, `${JSON.stringify(options)}: ${share}`);
    }
  });

  it('takes back peers that only change their minds: the price of counting their own votes', (t) => {
    const guess = () => 0.03;
    const shares = [0.02, 0.1, 0.3].map((churn) => [churn, alarms(100, { looks: 10, churn, hard: guess })]);
    for (const [churn, share] of shares) t.diagnostic(`churn ${churn}: an alarm in ${share} of the runs`);
    assert.ok(shares.at(-1)![1] > 0.05, 'no price any more: say so in docs/recipes.md');
  });

  it('sees a collapse', () => {
    const share = alarms(20, { churn: 0.3, easy: 0.7, hard: () => 0.03 });
    assert.ok(share >= 0.95, String(share));
  });
});
