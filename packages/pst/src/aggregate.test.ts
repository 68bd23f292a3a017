import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { aggregateRound, AGGREGATORS } from './aggregate.js';
import { PAPER, type AggregateStrategy, type GuardRecipe } from './recipe.js';
import type { Aggregate, AnsweredQuestion } from './round.js';
import { question, response, sequential } from './test-round.js';

function aggregate(
  strategy: AggregateStrategy,
  questions: readonly AnsweredQuestion[],
  minMargin = 0,
  guards: Partial<GuardRecipe> = {},
): Aggregate[] {
  const recipe = {
    aggregate: { ...PAPER.aggregate, strategy, minMargin },
    guards: { ...PAPER.guards, ...guards },
  };
  return aggregateRound(recipe, questions, 1n);
}

const answers = fc.array(fc.constantFrom('1', '2', '3', null), { minLength: 1, maxLength: 6 });
const answered = (id: string): fc.Arbitrary<AnsweredQuestion> =>
  fc
    .tuple(answers, fc.infiniteStream(fc.double({ min: -60, max: 0, noNaN: true })))
    .map(([given, stream]) => {
      const responses = given.map((text, i) =>
        response('abcdef'[i], text, { logLikelihood: stream.next().value as number }),
      );
      const rows = responses.map(({ peer }) => ({
        peer,
        logLikelihoods: responses.map(() => stream.next().value as number),
      }));
      return { promptId: id, text: `question ${id}`, responses, likelihoods: rows };
    });

describe('aggregate', () => {
  it('takes the last answer, with the share that agrees as its margin', () => {
    const [found] = aggregate('last', [sequential('q', ['1', '2', '2'])]);
    assert.deepEqual(found, {
      promptId: 'q',
      answer: '2',
      chosen: 2,
      margin: 2 / 3,
      accepted: true,
      reason: null,
    });
    assert.equal(aggregate('last', [sequential('q', ['1', '1', null])])[0].reason, 'no-answer');
  });

  it('votes; an unparseable answer counts against all, ties go to the likelier answer', () => {
    const [majority] = aggregate('vote', [question('q', ['1', '2', '2', null])]);
    assert.deepEqual([majority.answer, majority.margin], ['2', 0.5]);
    const tied = [response('a', '1', { logLikelihood: -5 }), response('b', '2', { logLikelihood: -1 })];
    const [tie] = aggregate('vote', [{ promptId: 'q', text: 'q', responses: tied }]);
    assert.deepEqual([tie.answer, tie.margin, tie.chosen], ['2', 0.5, 1]);
  });

  it('weighs votes by likelihood, and lets the likeliest carrier speak', () => {
    const responses = [
      response('a', '1', { logLikelihood: Math.log(0.2) }),
      response('b', '1', { logLikelihood: Math.log(0.3) }),
      response('c', '2', { logLikelihood: Math.log(0.4) }),
    ];
    const [found] = aggregate('confidence', [{ promptId: 'q', text: 'q', responses }]);
    assert.deepEqual([found.answer, found.chosen], ['1', 1]);
    assert.ok(Math.abs(found.margin - 5 / 9) < 1e-12);
  });

  it('says why it abstains', () => {
    const reason = (...args: Parameters<typeof aggregate>): string | null => aggregate(...args)[0].reason;
    assert.equal(reason('vote', [question('q', [null, null])]), 'no-answer');
    assert.equal(reason('vote', [question('q', [])]), 'no-answer');
    assert.equal(reason('vote', [question('q', ['1', '2', '3'])], 0.5), 'below-margin');
    const cut = { promptId: 'q', text: 'q', responses: [response('a', '1', { finished: false })] };
    assert.equal(reason('vote', [cut]), 'unfinished');
    assert.equal(reason('last', [cut]), 'unfinished');
    const same = question('q', ['1', '1', '1']);
    assert.equal(reason('vote', [same], 0, { maxAgreement: 0.9 }), 'agreement-gate');
    assert.equal(
      reason('vote', [question('q', ['1', '2', '3'])], 0, { minAgreement: 0.5 }),
      'agreement-gate',
    );
    const alone = sequential('q', ['1', '2', '2']);
    assert.equal(reason('last', [alone], 0, { independentSupport: true }), 'no-independent-support');
    const supported = sequential('q', ['2', '1', '2']);
    assert.equal(reason('last', [supported], 0, { independentSupport: true }), null);
    const asked = {
      ...alone,
      responses: [alone.responses[0], { ...alone.responses[1], independentAnswer: '2' }, alone.responses[2]],
    };
    assert.equal(reason('last', [asked], 0, { independentSupport: true }), null);
  });

  it('names the question whose cross-peer likelihoods are missing', () => {
    assert.throws(() => aggregate('trust', [question('q7', ['1', '2', '2'])]), /prompt q7 has no cross-peer/);
  });

  it('keeps its promises for any round: margins in [0, 1], a chosen carrier, a reason exactly when rejected', () => {
    const strategies = fc.constantFrom(...(Object.keys(AGGREGATORS) as AggregateStrategy[]));
    const wild = fc.constantFrom(NaN, -Infinity, Infinity, -1);
    fc.assert(
      fc.property(strategies, answered('p'), answered('q'), wild, (strategy, first, second, likelihood) => {
        const strange = {
          ...second,
          responses: second.responses.map((given, i) =>
            i === 0 ? { ...given, logLikelihood: likelihood } : given,
          ),
        };
        for (const [i, found] of aggregate(strategy, [first, strange], 0.4).entries()) {
          assert.ok(found.margin >= 0 && found.margin <= 1);
          assert.equal(found.accepted, found.reason === null);
          if (found.chosen !== null) {
            assert.equal([first, strange][i].responses[found.chosen].answer, found.answer);
          }
        }
      }),
    );
  });

  it('does not depend on who answered first (all but last) nor on the order of the questions', () => {
    const strategies = fc.constantFrom('vote' as const, 'confidence' as const, 'trust' as const);
    const round = fc.tuple(answered('p'), answered('q'), answered('r'));
    fc.assert(
      fc.property(strategies, round, fc.nat(5), (strategy, questions, turn) => {
        const rotate = <T>(list: readonly T[]): T[] => [
          ...list.slice(turn % list.length),
          ...list.slice(0, turn % list.length),
        ];
        const turned = questions.map((given) => ({
          ...given,
          responses: rotate(given.responses),
          likelihoods: rotate(given.likelihoods!).map((row) => ({
            ...row,
            logLikelihoods: rotate(row.logLikelihoods),
          })),
        }));
        const named = (found: Aggregate, given: AnsweredQuestion): object => ({
          ...found,
          chosen: found.chosen === null ? null : given.responses[found.chosen].peer,
        });
        const base = aggregate(strategy, questions, 0.4).map((found, i) => named(found, questions[i]));
        assert.deepEqual(
          aggregate(strategy, turned, 0.4).map((found, i) => named(found, turned[i])),
          base,
        );
        const backwards = [...questions].reverse();
        assert.deepEqual(
          aggregate(strategy, backwards, 0.4).map((found, i) => named(found, backwards[i])),
          [...base].reverse(),
        );
      }),
    );
  });

  it('does not change when every peer finds every response equally less likely', () => {
    fc.assert(
      fc.property(answered('q'), fc.integer({ min: -2000, max: 0 }), (given, shift) => {
        const shifted = {
          ...given,
          responses: given.responses.map((one) => ({ ...one, logLikelihood: one.logLikelihood + shift })),
          likelihoods: given.likelihoods!.map((row) => ({
            ...row,
            logLikelihoods: row.logLikelihoods.map((value) => value! + shift),
          })),
        };
        for (const strategy of ['confidence', 'trust'] as const) {
          const [a] = aggregate(strategy, [given]);
          const [b] = aggregate(strategy, [shifted]);
          assert.ok(Math.abs(a.margin - b.margin) < 1e-9);
        }
      }),
    );
  });
});
