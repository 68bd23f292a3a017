import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { combinePmi, normalizedPmi } from './pmi.js';

describe('pmi', () => {
  it('is the gain in log-likelihood a token', () => {
    assert.equal(normalizedPmi({ conditional: -2, marginal: -8, tokens: 4 }), 1.5);
    assert.equal(normalizedPmi({ conditional: -9, marginal: -8, tokens: 4 }), -0.25);
  });

  it('is null exactly where it is undefined', () => {
    assert.equal(normalizedPmi({ conditional: -1, marginal: -1, tokens: 0 }), null);
    assert.equal(normalizedPmi({ conditional: NaN, marginal: -1, tokens: 2 }), null);
    assert.equal(normalizedPmi({ conditional: -Infinity, marginal: -Infinity, tokens: 2 }), null);
    assert.equal(normalizedPmi({ conditional: -1, marginal: -Infinity, tokens: 2 }), Infinity);
    assert.equal(normalizedPmi({ conditional: -Infinity, marginal: -1, tokens: 2 }), -Infinity);
  });

  it('does not change when sums and tokens scale together, and changes sign when the contexts swap', () => {
    const log = fc.double({ min: -500, max: 0, noNaN: true });
    fc.assert(
      fc.property(log, log, fc.integer({ min: 1, max: 50 }), (conditional, marginal, tokens) => {
        const value = normalizedPmi({ conditional, marginal, tokens })!;
        const doubled = normalizedPmi({
          conditional: 2 * conditional,
          marginal: 2 * marginal,
          tokens: 2 * tokens,
        });
        assert.equal(doubled, value);
        assert.ok(value + normalizedPmi({ conditional: marginal, marginal: conditional, tokens })! === 0);
      }),
    );
  });

  it('averages scorers over the defined values', () => {
    assert.equal(combinePmi([1, null, 3, Infinity]), 2);
    assert.equal(combinePmi([null]), null);
    assert.equal(combinePmi([]), null);
  });
});
