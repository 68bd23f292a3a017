import assert from 'node:assert/strict';
import { test } from 'node:test';
import { adamwStep, clipScale, globalNorm } from './adamw.js';

const settings = {
  learningRate: 0.1,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0.5,
  maxGradNorm: 1,
};

test('the first step moves by the learning rate against the sign of the gradient', () => {
  const parameter = Float32Array.of(1, -2, 3);
  const moments = { first: new Float32Array(3), second: new Float32Array(3) };
  adamwStep(parameter, Float32Array.of(5, -0.01, 0), moments, { ...settings, decay: false }, 1, 1);
  [0.9, -1.9, 3].forEach((expected, i) => assert.ok(Math.abs(parameter[i] - expected) < 1e-5));
});

test('weight decay is decoupled from the gradient and can be switched off', () => {
  const decayed = Float32Array.of(2);
  const moments = { first: new Float32Array(1), second: new Float32Array(1) };
  adamwStep(decayed, Float32Array.of(0), moments, { ...settings, decay: true }, 1, 1);
  assert.ok(Math.abs(decayed[0] - 2 * (1 - 0.1 * 0.5)) < 1e-6);
  const kept = Float32Array.of(2);
  adamwStep(kept, Float32Array.of(0), moments, { ...settings, decay: false }, 1, 1);
  assert.equal(kept[0], 2);
});

test('clipping scales to the limit, never up, and not at all without one', () => {
  const norm = globalNorm([Float32Array.of(3), Float32Array.of(0, 4)]);
  assert.equal(norm, 5);
  assert.ok(Math.abs(norm * clipScale(norm, 1) - 1) < 1e-5);
  assert.equal(clipScale(norm, 10), 1);
  assert.equal(clipScale(norm, Infinity), 1);
});
