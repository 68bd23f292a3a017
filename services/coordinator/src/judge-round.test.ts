import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { FinishReason, GuardVerdictSchema, RoundGeneratedSchema } from '@parley/contracts';
import type { RoundGenerated } from '@parley/contracts';
import { PAPER } from '@parley/pst';
import { judgeRound } from './judge-round.js';
import { signalsOf, unanimity } from './peer-signals.js';

const GUARDS = {
  ...PAPER.guards,
  entropyDrop: 0.5,
  lengthDrift: 0.3,
  parseableDrop: 0.1,
  action: 'stop' as const,
};
const RECIPE = { ...PAPER, guards: GUARDS };

interface Said {
  answer?: string;
  tokens?: number;
  entropy?: number;
  failed?: boolean;
}

/** A round of three peers; `said` by question, then by peer. */
function round(index: number, said: Said[][]): RoundGenerated {
  return create(RoundGeneratedSchema, {
    runId: 'r1',
    round: BigInt(index),
    peers: ['ant', 'bee', 'cat'].map((name) => ({ name, version: 0n })),
    items: said.map((responses, i) => ({
      promptId: `q${i}`,
      question: 'Why?',
      order: [0, 1, 2],
      responses: responses.map(({ answer, tokens = 10, entropy = 1, failed }) =>
        failed
          ? { outcome: { case: 'failure' as const, value: { reason: 'PROMPT_TOO_LONG' } } }
          : {
              outcome: {
                case: 'completion' as const,
                value: {
                  text: `A: ${answer}`,
                  finishReason: FinishReason.STOP,
                  completionTokens: tokens,
                  meanEntropy: entropy,
                },
              },
              ...(answer !== undefined && { finalAnswer: answer }),
            },
      ),
    })),
  });
}

const first = round(0, [
  [{ answer: '1' }, { answer: '1' }, { answer: '2' }],
  [{ answer: '3' }, { answer: '3' }, { answer: '3' }],
]);

const stop = (peer: string) => create(GuardVerdictSchema, { runId: 'r1', peer, action: 'stop-peer' });

const firsts = new Map(['ant', 'bee', 'cat'].map((name) => [name, first]));

describe('signalsOf', () => {
  it('measures a peer by the answers that it gave, and not by those that failed', () => {
    const mixed = round(1, [
      [{ answer: '1', tokens: 4, entropy: 2 }, { answer: '1' }, { answer: '2' }],
      [{ failed: true }, { answer: '3' }, { answer: '3' }],
      [{ tokens: 8, entropy: 1 }, { answer: '5' }, { answer: '6' }],
    ]);
    const signals = signalsOf(mixed, 0);
    assert.equal(signals.meanTokens, 6);
    assert.equal(signals.meanEntropy, 1.5);
    assert.equal(signals.parseable, 0.5);
    assert.equal(signals.peerAgreement, 0.5);
    assert.equal(unanimity(mixed), 1 / 3);
  });

  it('measures nothing of a peer that answered nothing', () => {
    const silent = round(1, [[{ failed: true }, { answer: '1' }, { answer: '1' }]]);
    const { meanEntropy, meanTokens, parseable, peerAgreement } = signalsOf(silent, 0);
    assert.deepEqual([meanEntropy, meanTokens, parseable, peerAgreement], [null, null, null, null]);
  });
});

describe('judgeRound', () => {
  const collapsed = [[{ answer: '1', entropy: 0.1 }, { answer: '1' }, { answer: '2' }]];

  it('finds nothing in a round like the first', () => {
    assert.deepEqual(judgeRound(RECIPE, firsts, first, []), []);
  });

  it('stops the peer that collapsed, with the numbers', () => {
    const [verdict, ...more] = judgeRound(RECIPE, firsts, round(4, collapsed), []);
    assert.equal(more.length, 0);
    const { peer, guard, action, round: index, baseline, threshold } = verdict;
    assert.deepEqual(
      [peer, guard, action, index, baseline, threshold],
      ['ant', 'entropyDrop', 'stop-peer', 4n, 1, 0.5],
    );
    assert.ok(Math.abs(verdict.value - 0.9) < 1e-9);
  });

  it('compares a peer with the first round that it took part in, and one that took part in none with nothing', () => {
    const late = round(3, [[{ answer: '1', entropy: 0.1 }, { answer: '1' }, { answer: '2' }]]);
    assert.deepEqual(judgeRound(RECIPE, new Map([['ant', late]]), round(4, collapsed), []), []);
    assert.deepEqual(judgeRound(RECIPE, new Map(), round(4, collapsed), []), []);
  });

  it('does not judge by a few answers, as the last round of a run may have', () => {
    const many = round(
      0,
      Array.from({ length: 4 }, () => [{ answer: '1' }, { answer: '1' }, { answer: '2' }]),
    );
    const large = new Map([['ant', many]]);
    const rounds = [1, 2].map((count) =>
      round(
        9,
        Array.from({ length: count }, () => collapsed[0]),
      ),
    );
    const fired = rounds.map((small) => judgeRound(RECIPE, large, small, []).length);
    assert.deepEqual(fired, [0, 1]);
  });

  it('does not judge a peer again that was stopped', () => {
    assert.deepEqual(judgeRound(RECIPE, firsts, round(5, collapsed), [stop('ant')]), []);
  });

  it('pauses the run when fewer than two peers still learn', () => {
    const verdicts = judgeRound(RECIPE, firsts, round(5, collapsed), [stop('cat')]);
    assert.deepEqual(
      verdicts.map(({ peer, action }) => [peer, action]),
      [
        ['ant', 'stop-peer'],
        ['', 'pause-run'],
      ],
    );
    assert.match(verdicts[1].message, /1 of 3 peers still learn; the run is paused/);
  });

  it('says once for each gate how many questions it kept out', () => {
    const recipe = { ...RECIPE, guards: { ...GUARDS, maxAgreement: 0.9 } };
    const gated = round(1, [
      [{ answer: '1' }, { answer: '1' }, { answer: '1' }],
      [{ answer: '2' }, { answer: '2' }, { answer: '2' }],
      [{ answer: '1' }, { answer: '1' }, { answer: '2' }],
    ]);
    gated.items.slice(0, 2).forEach((item) => {
      item.aggregate = {
        ...emptyAggregate(),
        finalAnswer: item.responses[0].finalAnswer!,
        rejection: 'agreement-gate',
      };
    });
    const [verdict, ...more] = judgeRound(recipe, firsts, gated, []);
    assert.equal(more.length, 0);
    assert.deepEqual([verdict.guard, verdict.action, verdict.threshold], ['maxAgreement', 'skip-item', 0.9]);
    assert.equal(verdict.value, 2 / 3);
    assert.match(verdict.message, /2 of 3 questions are not trained on/);
  });
});

function emptyAggregate() {
  return {
    $typeName: 'parley.v1.Aggregate' as const,
    strategy: 'last',
    margin: 1,
    accepted: false,
    rejection: '',
  };
}
