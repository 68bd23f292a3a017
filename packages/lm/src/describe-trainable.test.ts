import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeTrainable, parseTrainable } from './describe-trainable.js';
import type { Trainable } from './language-model.js';

test('what trains is said in words that can be read again', () => {
  const settings: [Trainable, string][] = [
    [{ kind: 'full' }, 'full'],
    [{ kind: 'lora', rank: 8, alpha: 16, seed: 0 }, 'lora rank 8 alpha 16'],
    [
      { kind: 'lora', rank: 2, alpha: 3 * Math.SQRT2, targets: ['q_proj', 'v_proj'], seed: 0 },
      'lora rank 2 alpha 4.242640687119286 layers q_proj,v_proj',
    ],
    [{ kind: 'lora', rank: 1, alpha: 1e-7, seed: 0 }, 'lora rank 1 alpha 1e-7'],
  ];
  for (const [trainable, text] of settings) {
    assert.equal(describeTrainable(trainable), text);
    assert.deepEqual(parseTrainable(text), trainable);
  }
  assert.equal(parseTrainable('lora rank x'), undefined);
});
