import { deepEqual, equal, notDeepEqual, ok, throws } from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { TrainingSettingsSchema } from '@parley/contracts';
import type { TrainingSettings } from '@parley/contracts';
import { isParleyError } from '@parley/runtime';
import { checkTrainingSettings, planSteps } from './training-plan.js';

function settings(overrides: Partial<TrainingSettings> = {}): TrainingSettings {
  return create(TrainingSettingsSchema, {
    learningRate: 1e-3,
    schedule: 'constant',
    finalLearningRateRatio: 0,
    epochs: 1,
    minibatchSize: 4,
    maxGradNorm: 1,
    weightDecay: 0,
    beta1: 0.9,
    beta2: 0.98,
    epsilon: 1e-8,
    anchorReference: 'previous',
    ...overrides,
  });
}

test('every epoch goes through every item once, in full minibatches but for its last', () => {
  fc.assert(
    fc.property(
      fc.nat(40),
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 4 }),
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      (count, minibatchSize, epochs, seed) => {
        const items = Array.from({ length: count }, (_, index) => index);
        const steps = planSteps(items, settings({ minibatchSize, epochs }), seed);
        const stepsPerEpoch = Math.ceil(count / minibatchSize);
        equal(steps.length, epochs * stepsPerEpoch);
        for (let epoch = 0; epoch < epochs; epoch++) {
          const own = steps.slice(epoch * stepsPerEpoch, (epoch + 1) * stepsPerEpoch);
          deepEqual(
            own.flatMap((step) => step.items).toSorted((a, b) => a - b),
            items,
          );
          ok(own.slice(0, -1).every((step) => step.items.length === minibatchSize));
        }
        deepEqual(planSteps(items, settings({ minibatchSize, epochs }), seed), steps);
      },
    ),
  );
});

test('the order comes from the seed and changes from epoch to epoch', () => {
  const items = Array.from({ length: 32 }, (_, index) => index);
  const orders = (seed: bigint) => {
    const steps = planSteps(items, settings({ epochs: 2, minibatchSize: 32 }), seed);
    return steps.map((step) => step.items);
  };
  const [first, second] = orders(7n);
  notDeepEqual(first, second);
  notDeepEqual(orders(8n)[0], first);
});

test('SplitMix64 gives the values of its reference implementation', () => {
  // Of seed 1234567: 6457827717110365317, 3203168211198807973, 9817491932198370423; each modulo 4, 3, 2.
  const [step] = planSteps(['a', 'b', 'c', 'd'], settings(), 1234567n);
  const order = ['a', 'b', 'c', 'd'];
  for (const [i, value] of [6457827717110365317n, 3203168211198807973n, 9817491932198370423n].entries()) {
    const at = 3 - i;
    const j = Number(value % BigInt(at + 1));
    [order[at], order[j]] = [order[j], order[at]];
  }
  deepEqual(step?.items, order);
});

test('the learning rate is constant, or falls by steps down to its final share', () => {
  const rates = (overrides: Partial<TrainingSettings>) =>
    planSteps([1, 2, 3, 4], settings({ minibatchSize: 1, learningRate: 1, ...overrides }), 0n).map(
      (step) => step.settings.learningRate,
    );
  deepEqual(rates({}), [1, 1, 1, 1]);
  deepEqual(rates({ schedule: 'linear' }), [1, 0.75, 0.5, 0.25]);
  deepEqual(rates({ schedule: 'linear', finalLearningRateRatio: 0.6 }), [1, 0.75, 0.6, 0.6]);
});

test('a maximal norm of 0 switches clipping off', () => {
  equal(planSteps([1], settings({ maxGradNorm: 0 }), 0n)[0]?.settings.maxGradNorm, Infinity);
  equal(planSteps([1], settings({ maxGradNorm: 2 }), 0n)[0]?.settings.maxGradNorm, 2);
});

test('settings that make no sense are all named, with what would do', () => {
  checkTrainingSettings(settings());
  const bad = settings({ learningRate: NaN, schedule: 'cosine', epochs: 0, beta2: 1, epsilon: 0 });
  throws(
    () => checkTrainingSettings(bad),
    (error: unknown) => {
      ok(isParleyError(error, 'REQUEST_INVALID'));
      for (const part of [
        'learning_rate is NaN',
        'schedule is cosine, must be "constant" or "linear"',
        'epochs is 0',
        'beta2 is 1',
        'epsilon is 0',
      ]) {
        ok(error.message.includes(part), part);
      }
      return true;
    },
  );
  for (const field of [
    'learningRate',
    'finalLearningRateRatio',
    'epochs',
    'minibatchSize',
    'maxGradNorm',
    'weightDecay',
    'beta1',
    'beta2',
    'epsilon',
  ] as const) {
    for (const value of [NaN, -1, Infinity]) {
      if (field === 'minibatchSize' && value === Infinity) continue;
      throws(() => checkTrainingSettings(settings({ [field]: value })), /must be/, `${field} ${value}`);
    }
  }
});
