import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { aggregateRound } from './aggregate.js';
import { PAPER, TRUST, type Recipe } from './recipe.js';
import { resolveRecipe } from './recipe-validation.js';
import type { AnsweredQuestion } from './round.js';
import { question, response, sequential } from './test-round.js';
import { buildUpdate, needsPmi, type PeerUpdate } from './update-items.js';

function recipe(override: object): Recipe {
  const result = resolveRecipe(override);
  assert.ok(result.ok, JSON.stringify(result));
  return result.recipe;
}

function update(
  rule: Recipe,
  peer: string,
  questions: AnsweredQuestion[],
  pmi: (number | null)[],
): PeerUpdate {
  return buildUpdate(rule, {
    peer,
    questions,
    aggregates: aggregateRound(rule, questions, 1n),
    pmi,
    seed: 1n,
  });
}

/** The vote stands in for the trust strategy, whose own tests lie elsewhere. */
const ANCHORED = { ...TRUST, aggregate: { ...TRUST.aggregate, strategy: 'vote' as const, minMargin: 0.6 } };

describe('update items', () => {
  it('train every peer on the last answer in the paper preset, most where it disagreed', () => {
    const questions = [
      sequential('p', ['1', '2', '2']),
      sequential('q', ['3', '3', '3']),
      sequential('r', ['4', '4', null]),
    ];
    const a = update(PAPER, 'a', questions, [-0.1, 0.5, null]);
    assert.deepEqual(
      a.items.map(({ promptId, target, anchorWeight }) => [promptId, target, anchorWeight]),
      [
        ['p', 'c says 2', 0],
        ['q', 'c says 3', 0],
      ],
    );
    assert.ok(a.items[0].weight > 10 * a.items[1].weight);
    assert.ok(Math.abs(a.items[0].weight + a.items[1].weight - 2) < 1e-12, 'mean 1');
    assert.equal(a.outcomes[2].skipped, 'no-answer');
    const c = update(PAPER, 'c', questions, [null, null, null]);
    assert.deepEqual(
      c.items.map(({ weight }) => weight),
      [1, 1],
      'the author of the aggregate has no PMI of its own and trains at the neutral weight',
    );
  });

  it('in the trust preset learn where a peer disagrees and hold still elsewhere', () => {
    const questions = [
      question('p', ['1', '2', '2']),
      question('q', ['3', '3', '3']),
      question('r', ['4', '5', '6']),
    ];
    const { items } = update(ANCHORED, 'a', questions, [null, null, null]);
    assert.deepEqual(items, [
      { promptId: 'p', question: 'p', target: 'b says 2', weight: 1, anchorWeight: 0 },
      { promptId: 'q', question: 'q', target: 'a says 3', weight: 0, anchorWeight: 1 },
      { promptId: 'r', question: 'r', target: 'a says 4', weight: 0, anchorWeight: 1 },
    ]);
  });

  it('skip by name: no response, no acceptance, no weight, author, unfinished', () => {
    const skipped = (rule: Recipe, peer: string, ...questions: AnsweredQuestion[]): (string | null)[] =>
      update(
        rule,
        peer,
        questions,
        questions.map(() => 0),
      ).outcomes.map((outcome) => outcome.skipped);
    assert.deepEqual(skipped(PAPER, 'x', sequential('p', ['1', '1'])), ['no-response']);
    const gated = recipe({ aggregate: { minMargin: 0.9 } });
    assert.deepEqual(skipped(gated, 'a', sequential('p', ['1', '2'])), ['below-margin']);
    assert.deepEqual(skipped(recipe({ weight: { author: 'skip' } }), 'b', sequential('p', ['1', '1'])), [
      'author',
    ]);
    const bare = { ...ANCHORED, anchor: { ...ANCHORED.anchor, on: 'none' as const, weight: 0 } };
    assert.deepEqual(skipped(bare, 'a', question('p', ['1', '1', '1'])), ['zero-weight']);
    const cut = {
      ...question('p', ['1']),
      responses: [response('a', null, { finished: false }), response('b', '2')],
    };
    assert.deepEqual(skipped(ANCHORED, 'a', cut), ['own-unfinished']);
    const silent = { ...cut, responses: [{ ...response('a', null), text: '' }, response('b', '2')] };
    assert.deepEqual(skipped(ANCHORED, 'a', silent), ['own-empty']);
  });

  it('train on a peer’s own answer when asked to', () => {
    const own = recipe({ target: 'own' });
    const { items } = update(own, 'a', [sequential('p', ['1', '2', '2'])], [0]);
    assert.equal(items[0].target, 'a says 1');
  });

  it('anchor the target itself where a peer is both trained and anchored', () => {
    const all = recipe({ anchor: { on: 'all', weight: 0.5 } });
    const { items } = update(all, 'a', [sequential('p', ['1', '2', '2'])], [0]);
    assert.deepEqual([items[0].target, items[0].weight, items[0].anchorWeight], ['c says 2', 1, 0.5]);
  });

  it('leave every peer finite items within bounds when all scores are broken', () => {
    const questions = [sequential('p', ['1', '2', '2']), sequential('q', ['1', '1', '1'])];
    for (const broken of [NaN, Infinity, -Infinity, null]) {
      for (const item of update(PAPER, 'a', questions, [broken, 0.1]).items) {
        assert.ok(Number.isFinite(item.weight) && item.weight >= 0 && item.weight <= PAPER.weight.max);
      }
    }
  });

  it('ask for PMI only where it is used', () => {
    const questions = [sequential('p', ['1', '2', '2']), sequential('q', ['1', null, null])];
    const aggregates = aggregateRound(PAPER, questions, 1n);
    const needed = (rule: Recipe, peer: string): boolean[] =>
      questions.map((given, i) => needsPmi(rule, peer, given, aggregates[i]));
    assert.deepEqual(needed(PAPER, 'a'), [true, false]);
    assert.deepEqual(needed(PAPER, 'c'), [false, false]);
    assert.deepEqual(needed(recipe({ weight: { author: 'pmi' } }), 'c'), [true, false]);
    assert.deepEqual(needed(ANCHORED, 'a'), [false, false]);
    assert.deepEqual(needed(PAPER, 'x'), [false, false]);
  });

  it('refuse lists that do not match', () => {
    const questions = [sequential('p', ['1'])];
    const round = { peer: 'a', questions, aggregates: [], pmi: [1], seed: 1n };
    assert.throws(() => buildUpdate(PAPER, round), /1 questions has 0 aggregates and 1 PMI for a/);
  });
});
