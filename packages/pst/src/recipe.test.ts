import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { RECIPE_FIELDS } from './recipe-fields.js';
import { differencesFromPreset, resolveRecipe, validateRecipe } from './recipe-validation.js';
import { learningRateAt, optimizerSteps, PAPER, TRUST, type Recipe, PRESETS } from './recipe.js';

function resolve(override: unknown, peers?: number): Recipe {
  const result = resolveRecipe(override, peers === undefined ? {} : { peers });
  assert.ok(result.ok, JSON.stringify(result));
  return result.recipe;
}

function problems(override: unknown, peers?: number): string[] {
  const result = resolveRecipe(override, peers === undefined ? {} : { peers });
  return result.ok ? [] : result.problems.map(({ path, message }) => `${path} ${message}`);
}

describe('recipe', () => {
  it('has valid presets that survive JSON and resolve to themselves', () => {
    for (const preset of Object.values(PRESETS)) {
      assert.deepEqual(validateRecipe(preset, { peers: 3 }), []);
      assert.deepEqual(resolve(JSON.parse(JSON.stringify(preset)), 3), preset);
      assert.deepEqual(resolve({ preset: preset.preset }), preset);
      assert.deepEqual(differencesFromPreset(preset), []);
      assert.ok(Object.isFrozen(preset.aggregate.trust));
    }
    assert.deepEqual(resolve({}), PAPER);
  });

  it('overrides any depth, names what differs, and leaves the presets alone', () => {
    const recipe = resolve({
      preset: 'trust',
      aggregate: { trust: { clusters: 6 }, answerForms: ['marker'] },
      order: 'rotated',
    });
    assert.deepEqual(differencesFromPreset(recipe), [
      { path: 'order', value: 'rotated', preset: 'fixed' },
      { path: 'aggregate.answerForms', value: ['marker'], preset: TRUST.aggregate.answerForms },
      { path: 'aggregate.trust.clusters', value: 6, preset: 12 },
    ]);
    assert.equal(recipe.aggregate.trust.svdDimensions, 12);
    assert.equal(TRUST.aggregate.trust.clusters, 12);
    assert.deepEqual(resolve(recipe), recipe);
  });

  it('has one rule for every field and one field for every rule', () => {
    assert.deepEqual(problems({ ...PAPER, preset: 'custom' }), []);
    const missing = problems({ preset: 'custom' });
    assert.equal(missing.length, Object.keys(RECIPE_FIELDS).length - 1);
    assert.ok(missing.every((problem) => problem.endsWith('is missing')));
  });

  it('reports every unsound field at once, by path', () => {
    const found = problems({
      preset: 'papr',
      weight: { temperature: 0, kind: 'sigmod', min: '0' },
      rounds: { quorum: 1.5 },
      guards: { maxAgreement: 2 },
      epochs: 3,
      aggregate: null,
    });
    for (const expected of [
      /^preset must be one of paper, trust, trust-pmi, custom, not "papr"/,
      /^weight\.temperature must be a number above 0, not 0/,
      /^weight\.kind must be one of sigmoid, .*, not "sigmod"/,
      /^weight\.min must be a number at least 0, not "0"/,
      /^rounds\.quorum must be a whole number at least 1, or null, not 1\.5/,
      /^guards\.maxAgreement must be a number at least 0 and at most 1, or null, not 2/,
      /^epochs is no field of a recipe; did you mean training\.epochs\?/,
      /^aggregate is no field/,
      /^aggregate\.strategy is missing/,
    ]) {
      assert.ok(
        found.some((problem) => expected.test(problem)),
        `${expected} in ${found.join('\n')}`,
      );
    }
  });

  it('takes answer forms in any order, at least one, and none twice', () => {
    const forms = RECIPE_FIELDS['aggregate.answerForms'];
    assert.ok(forms.type === 'list');
    fc.assert(
      fc.property(fc.shuffledSubarray([...forms.values], { minLength: 1 }), (answerForms) => {
        assert.deepEqual(resolve({ aggregate: { answerForms } }).aggregate.answerForms, answerForms);
      }),
    );
    const faults: [unknown, RegExp][] = [
      [[], /^aggregate\.answerForms must be a list of at least one of boxed, .*, not \[\]/],
      ['marker', /must be a list of .*, not "marker"/],
      [['marker', 'shout'], /it holds "shout"/],
      [['marker', 3], /it holds 3/],
      [[undefined], /it holds undefined/],
      [['marker', 'boxed', 'marker'], /names "marker" more than once/],
    ];
    for (const [answerForms, expected] of faults) {
      assert.match(problems({ aggregate: { answerForms } }).join(), expected);
    }
    resolve({}).aggregate.answerForms.push('boxed');
    assert.equal(PAPER.aggregate.answerForms.length, 4, 'a resolved recipe is a copy');
  });

  it('refuses anything but an object, and does not follow __proto__', () => {
    for (const value of [null, 3, 'paper', [], undefined]) assert.match(problems(value)[0], /JSON object/);
    const hostile: unknown = JSON.parse('{"__proto__":{"order":"random"}}');
    assert.match(problems(hostile).join(), /no field/);
    assert.equal(Object.hasOwn(Object.prototype, 'order'), false);
  });

  const contradictions: [string, object, RegExp, number?][] = [
    [
      'last with independent answers',
      { generation: { context: 'independent' } },
      /^aggregate\.strategy 'last'.*Use/,
    ],
    [
      'trust with sequential answers',
      { preset: 'trust', generation: { context: 'sequential' } },
      /^generation\.context/,
    ],
    [
      'confidence with sequential answers',
      { aggregate: { strategy: 'confidence' } },
      /must be 'independent'/,
    ],
    [
      'too few questions for the clusters',
      { preset: 'trust', rounds: { promptsPerRound: 95, microBatch: 5 } },
      /at least 96/,
    ],
    ['trust with two peers', { preset: 'trust' }, /at least 3 peers, not 2/, 2],
    [
      'trust with a quorum of two',
      { preset: 'trust', rounds: { quorum: 2 } },
      /^rounds\.quorum must be at least 3/,
    ],
    ['a mesh of one', {}, /at least 2 peers, not 1/, 1],
    ['quorum above the peers', { rounds: { quorum: 4 } }, /^rounds\.quorum is 4, but the run has 3 peers/, 3],
    ['micro-batch above the round', { rounds: { microBatch: 300 } }, /^rounds\.microBatch is 300/],
    ['min above max', { weight: { min: 3, max: 2 } }, /^weight\.min is 3, above weight\.max 2/],
    ['mean 1 out of bounds', { weight: { max: 0.5 } }, /^weight\.normalize/],
    ['own target where the answer differs', { target: 'own', weight: { kind: 'disagree' } }, /^target 'own'/],
    [
      'ablation of uniform weights',
      { weight: { kind: 'uniform', ablation: 'reversed' } },
      /^weight\.ablation/,
    ],
    [
      'own target with an anchor on it',
      { target: 'own', anchor: { on: 'agreed', weight: 1 } },
      /^anchor\.on 'agreed'/,
    ],
    ['anchor weight without anchors', { anchor: { weight: 1 } }, /^anchor\.on is 'none'/],
    ['anchors without weight', { anchor: { on: 'all' } }, /^anchor\.weight must be above 0/],
    [
      'a gate that lets nothing through',
      { guards: { minAgreement: 0.8, maxAgreement: 0.5 } },
      /every question/,
    ],
    ['half a guard', { guards: { agreementRise: 0.05 } }, /^guards\.agreementRise changes nothing/],
    [
      'an unmeasured guard',
      { guards: { canaryDrop: 0.1 } },
      /^guards\.canaryDrop is measured on the monitor pool/,
    ],
    [
      'a pool that can show nothing',
      { guards: { frozenAgreementDrop: 0.05 }, monitor: { questions: 8 } },
      /^monitor\.questions is 8, too few/,
    ],
    ['a constant rate that falls', { training: { finalLearningRateRatio: 0.1 } }, /^training\.final/],
  ];
  for (const [name, override, expected, peers] of contradictions) {
    it(`names contradictory fields: ${name}`, () => {
      const found = problems(override, peers);
      assert.ok(
        found.some((problem) => expected.test(problem)),
        found.join('\n') || 'no problem found',
      );
    });
  }

  it('finds nothing wrong or says why, whatever JSON it is given', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const result = resolveRecipe(value);
        if (result.ok) assert.deepEqual(resolve(result.recipe), result.recipe);
        else assert.ok(result.problems.length > 0);
      }),
    );
  });

  it('moves the learning rate within one update', () => {
    const steps = optimizerSteps(TRUST.training, 100);
    assert.equal(steps, 3 * 4);
    assert.equal(learningRateAt(TRUST.training, 0, steps), 3e-4);
    assert.ok(Math.abs(learningRateAt(TRUST.training, 6, steps) - 1.5e-4) < 1e-12);
    assert.ok(Math.abs(learningRateAt(TRUST.training, 11, steps) - 3e-5) < 1e-12);
    assert.equal(learningRateAt(PAPER.training, 11, steps), 2e-4);
  });
});
