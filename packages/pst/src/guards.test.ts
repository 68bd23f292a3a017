import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gateQuestion, judgePeer, type PeerSignals } from './guards.js';
import { PAPER, type GuardRecipe } from './recipe.js';
import { question } from './test-round.js';

const START: PeerSignals = {
  meanEntropy: 0.4,
  meanTokens: 14,
  parseable: 0.98,
  peerAgreement: 0.7,
  frozenAgreement: 0.85,
  canaryConsistency: 0.9,
};

/** The preset's, and those whose signals no service measures yet. */
const ALL: GuardRecipe = { ...PAPER.guards, agreementRise: 0.05, frozenAgreementDrop: 0.03, canaryDrop: 0.1 };

function fired(now: Partial<PeerSignals>, guards: Partial<GuardRecipe> = {}): string[] {
  return judgePeer({ ...ALL, ...guards }, 'qwen', START, { ...START, ...now }).map(({ guard }) => guard);
}

describe('guards', () => {
  it('stay silent for a peer that is well', () => {
    assert.deepEqual(fired({}), []);
    assert.deepEqual(fired({ meanEntropy: 0.2, meanTokens: 16, parseable: 0.95, frozenAgreement: 0.9 }), []);
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

  it('take rising agreement for collapse only while agreement with the frozen peers falls', () => {
    assert.deepEqual(fired({ peerAgreement: 0.95 }), []);
    assert.deepEqual(fired({ frozenAgreement: 0.6 }), []);
    assert.deepEqual(fired({ peerAgreement: 0.95, frozenAgreement: 0.6 }), ['frozenAgreementDrop']);
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
    assert.deepEqual(
      [action('report'), action('stop'), action('rollback')],
      ['none', 'stop-peer', 'rollback-peer'],
    );
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
