import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gateQuestion, judgePeer, signTest, type PeerSignals } from './guards.js';
import { PAPER, type GuardRecipe } from './recipe.js';
import { question } from './test-round.js';

const START: PeerSignals = {
  meanEntropy: 0.4,
  meanTokens: 14,
  parseable: 0.98,
  peerAgreement: 0.7,
  ...frozen(17),
  canaryConsistency: 0.9,
};

/** The preset's, and those that need a monitor pool. */
const ALL: GuardRecipe = { ...PAPER.guards, frozenAgreementDrop: 0.03, canaryDrop: 0.1 };

/** Agreement with the frozen peers on so many of 20 questions. */
function frozen(agreeing: number): Pick<PeerSignals, 'frozenAgreement' | 'frozenMatches'> {
  return {
    frozenAgreement: agreeing / 20,
    frozenMatches: Array.from({ length: 20 }, (_, question) => question < agreeing),
  };
}

function fired(now: Partial<PeerSignals>, guards: Partial<GuardRecipe> = {}): string[] {
  return judgePeer({ ...ALL, ...guards }, 'qwen', START, { ...START, ...now }).map(({ guard }) => guard);
}

describe('guards', () => {
  it('stay silent for a peer that is well', () => {
    assert.deepEqual(fired({}), []);
    assert.deepEqual(fired({ meanEntropy: 0.2, meanTokens: 16, parseable: 0.95, ...frozen(18) }), []);
  });

  it('fire with their numbers and a sentence', () => {
    const [verdict] = judgePeer(PAPER.guards, 'qwen', START, { ...START, meanTokens: 7 });
    assert.deepEqual(verdict, {
      guard: 'lengthDrift',
      peer: 'qwen',
      value: 0.5,
      threshold: 0.3,
      baseline: 14,
      action: 'rollback-peer',
      message: 'qwen: response length (tokens) 14.000 → 7.000 (guard lengthDrift at 0.3)',
    });
    assert.deepEqual(fired({ meanTokens: 20 }), ['lengthDrift'], 'either way');
    assert.deepEqual(fired({ meanEntropy: 0.05 }), ['entropyDrop']);
    assert.deepEqual(fired({ parseable: 0.8 }), ['parseableDrop']);
    assert.deepEqual(fired({ canaryConsistency: 0.7 }), ['canaryDrop']);
  });

  it('take falling agreement with the frozen peers for collapse, and rising agreement alone for nothing', () => {
    assert.deepEqual(fired({ peerAgreement: 0.95 }), []);
    assert.deepEqual(fired(frozen(8)), ['frozenAgreementDrop']);
    assert.deepEqual(fired(frozen(8), { agreementRise: 0.05 }), []);
    const both = { peerAgreement: 0.95, ...frozen(8) };
    assert.deepEqual(fired(both, { agreementRise: 0.05 }), ['frozenAgreementDrop']);
  });

  it('ask for a fall that chance does not explain, question by question', () => {
    assert.deepEqual(fired(frozen(9)), [], 'eight lost of eight: p = 1/256');
    assert.deepEqual(fired(frozen(8)), ['frozenAgreementDrop'], 'nine of nine: p = 1/512');
    assert.deepEqual(fired(frozen(9), { significance: null }), ['frozenAgreementDrop']);
    const [{ message }] = judgePeer(ALL, 'qwen', START, { ...START, ...frozen(8) });
    assert.match(message, /85\.0 % → 40\.0 %, 9 questions lost and 0 won, p = 0\.0020 \(guard/);
    const moved = { frozenAgreement: 0.5, frozenMatches: START.frozenMatches!.map((agreed) => !agreed) };
    assert.deepEqual(fired(moved, { significance: 0.001 }), [], '17 lost and 3 won: p = 0.0013');
  });

  it('know the sign test', () => {
    const close = (actual: number, expected: number) =>
      assert.ok(Math.abs(actual / expected - 1) < 1e-12, String(actual));
    close(signTest(0, 0), 1);
    close(signTest(0, 5), 1);
    close(signTest(5, 0), 1 / 32);
    close(signTest(8, 2), (45 + 10 + 1) / 1024);
    assert.ok(Math.abs(signTest(1000, 1000) - 0.508919) < 1e-6);
    assert.ok(signTest(3000, 0) < 1e-300);
  });

  it('fire on a signal that is no number, and not on one that was not measured', () => {
    assert.deepEqual(fired({ meanEntropy: NaN, meanTokens: NaN, parseable: NaN }), [
      'entropyDrop',
      'lengthDrift',
      'parseableDrop',
    ]);
    assert.deepEqual(fired({ meanEntropy: null, parseable: null }), []);
  });

  it('obey the recipe: off, and what to do', () => {
    assert.deepEqual(fired({ meanTokens: 1 }, { lengthDrift: null }), []);
    const action = (chosen: GuardRecipe['action']): string =>
      judgePeer({ ...PAPER.guards, action: chosen }, 'q', START, { ...START, meanTokens: 1 })[0].action;
    assert.deepEqual((['report', 'stop', 'rollback', 'quarantine', 'pause'] as const).map(action), [
      'none',
      'stop-peer',
      'rollback-peer',
      'quarantine-peer',
      'pause-run',
    ]);
  });

  it('gate a question from both sides', () => {
    const gate = (answers: (string | null)[], guards: Partial<GuardRecipe>): string | undefined =>
      gateQuestion({ ...PAPER.guards, ...guards }, question('q', answers).responses, '1')?.message;
    assert.match(gate(['1', '1', '1'], { maxAgreement: 0.9 })!, /100\.0 % of the answers agree/);
    assert.match(gate(['1', '2', null], { minAgreement: 0.5 })!, /only 33\.3 %/);
    assert.equal(gate(['1', '1', '2'], { minAgreement: 0.5, maxAgreement: 0.9 }), undefined);
    assert.match(gate(['2', '2'], { independentSupport: true })!, /no answer given alone supports "1"/);
  });
});
